// An OData server with one entity set in memory. Its argument is the port.
const Datastore = require("@seald-io/nedb");
const port = Number(process.argv[2]);
const rows = new Datastore({ inMemoryOnly: true });
const types = { _id: "String", customer: "String", amount: "Double", note: "String" };
const model = {
  namespace: "shop",
  entityTypes: {
    Order: Object.fromEntries(Object.entries(types).map(([n, t]) => [n, { type: `Edm.${t}`, key: n === "_id" }])),
  },
  entitySets: { orders: { entityType: "shop.Order" } },
};
const server = require("simple-odata-server")(`http://127.0.0.1:${port}`)
  .model(model)
  .adapter(require("simple-odata-server-nedb")((_, done) => done(null, rows)));
require("http").createServer(server.handle.bind(server)).listen(port, "127.0.0.1");
