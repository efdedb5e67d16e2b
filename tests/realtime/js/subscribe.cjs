// Subscribes with the real pusher-js, in its default way, and prints one JSON line for each thing that happens.
// usage: node subscribe.cjs <folder with node_modules> <JSON: key, host, port, endpoint, token, channels, bind>
const { createRequire } = require("node:module");
const path = require("node:path");

const given = JSON.parse(process.argv[3]);
const Pusher = createRequire(path.join(process.argv[2], "package.json"))("pusher-js");
const say = (line) => console.log(JSON.stringify(line));

const pusher = new Pusher(given.key, {
  cluster: "",
  wsHost: given.host,
  wsPort: given.port,
  forceTLS: false,
  enabledTransports: ["ws"],
  channelAuthorization: {
    endpoint: given.endpoint,
    transport: "ajax",
    headers: { Authorization: `Bearer ${given.token}` },
  },
});

pusher.connection.bind("error", (error) => say({ failed: String(error?.error?.data?.message ?? error) }));
for (const name of given.channels) {
  const channel = pusher.subscribe(name);
  channel.bind("pusher:subscription_succeeded", (about) => say({ subscribed: name, me: about?.me ?? null }));
  channel.bind("pusher:subscription_error", (error) => say({ refused: name, status: error.status }));
  channel.bind(given.bind, (data) => say({ heard: data, on: name }));
}
process.stdin.on("end", () => pusher.disconnect()).resume();
