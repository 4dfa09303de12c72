"""Tables of the lake in other systems: each sink reads a published table and keeps a ledger where it writes."""
