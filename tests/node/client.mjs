// A client in another language: publishes a request as the schema says, and prints, one JSON object
// a line, every progress tick and event of it until its result is told.
//   node client.mjs URL USER PASSWORD TENANT CAPABILITY CAMPAIGN REQUEST  < body.json
import { readFileSync } from "node:fs";
import { connect, headers } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";

const [url, user, pass, tenant, capability, campaign, request] = process.argv.slice(2);
const nc = await connect({ servers: url, user, pass });
const done = (async () => {
  for await (const m of nc.subscribe(`adgenx.*.${tenant}.${campaign}.${request}.>`)) {
    console.log(JSON.stringify({ subject: m.subject, body: m.json() }));
    if (m.subject.endsWith("_generation_result")) return;
  }
})();
const ticks = nc.subscribe(`adgenx.progress.${tenant}.${campaign}.${request}`, {
  callback: (_, m) => console.log(JSON.stringify({ subject: m.subject, body: m.json() })),
});
const once = headers();
once.set("Nats-Expected-Last-Subject-Sequence", "0");
const subject = `adgenx.req.${tenant}.${capability}.${campaign}.${request}`;
const ack = await jetstream(nc).publish(subject, readFileSync(0), { headers: once });
console.log(JSON.stringify({ subject, accepted: ack.seq > 0 }));
await done;
ticks.unsubscribe();
await nc.close();
