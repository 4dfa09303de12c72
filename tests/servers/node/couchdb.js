// A CouchDB in memory: pouchdb's own server. Its argument is the port.
const PouchDB = require("pouchdb-core")
  .plugin(require("pouchdb-adapter-memory"))
  .plugin(require("pouchdb-mapreduce"))
  .plugin(require("pouchdb-replication"));
const app = require("express")();
app.use(require("express-pouchdb")(PouchDB.defaults({ adapter: "memory" }), { mode: "minimumForPouchDB" }));
app.listen(Number(process.argv[2]), "127.0.0.1");
