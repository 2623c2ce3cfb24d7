// Calls demo.Greeter at an Adit gateway as if the gateway were the service: plain gRPC, no more.
//
//     node caller.js
//
// ADIT_ADDRESS says where the gateway is. If it asks callers for a key, put one into ADIT_CALLER_KEY.
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import { connect, load } from "./gateway.js";

const DEADLINE_MS = 10_000;

const greeter = connect(load("examples/proto/greeter.proto")["demo.Greeter"]);
const greet = promisify(greeter.Greet).bind(greeter);
const metadata = new grpc.Metadata();
if (process.env.ADIT_CALLER_KEY) metadata.set("x-adit-key", process.env.ADIT_CALLER_KEY);
const options = () => ({ deadline: Date.now() + DEADLINE_MS });

console.log("Greet:", (await greet({ name: "Ada" }, metadata, options())).text);

for await (const { number } of greeter.Count({ limit: 3 }, metadata, options())) {
  console.log("Count:", number);
}

const total = await new Promise((resolve, reject) => {
  const numbers = greeter.Sum(metadata, options(), (error, reply) => (error ? reject(error) : resolve(reply.total)));
  for (const number of [1, 2, 3]) numbers.write({ number });
  numbers.end();
});
console.log("Sum:", total);

const chat = greeter.Chat(metadata, options());
for (const text of ["hello", "goodbye"]) chat.write({ text });
chat.end();
for await (const { text } of chat) console.log("Chat:", text);

try {
  await greet({}, metadata, options());
} catch (error) {
  console.log("Greet without a name:", grpc.status[error.code], error.details);
}

greeter.close();
