"""The command line, `adgenx`: a client of the bus like any other, and a laptop's supervisor."""
