// Reads an AsyncAPI document on standard input and prints what the official parser finds wrong.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
const errors = diagnostics.filter((d) => d.severity === 0);
for (const error of errors) console.log(`${error.path.join(".")}: ${error.message}`);
process.exit(document && errors.length === 0 ? 0 : 1);
