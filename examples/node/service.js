// demo.Greeter, served through an Adit gateway: `ADIT_API_KEY=<key> node service.js` dials in.
//
// proto/registry.proto explains the frames of a tunnel, examples/proto/greeter.proto the methods.
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import { connect, load } from "./gateway.js";

const { "registry.RegistryService": registry } = load("proto/registry.proto");
const { "demo.Greeter": greeter } = load("examples/proto/greeter.proto");
const HEARTBEAT_INTERVAL_MS = 30_000;
const KEEPALIVE = { "grpc.keepalive_time_ms": 30_000 }; // notices a gateway that went without a word
const STABLE_AFTER_MS = 30_000;
const DELAY_FIRST_MS = 1_000;
const DELAY_MAX_MS = 120_000;
// Dialling again with the same key would end the same way.
const FINAL = [grpc.status.UNAUTHENTICATED, grpc.status.PERMISSION_DENIED];

// An error that the caller is told as it is.
class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// Each method takes its requests as they come and yields its replies. `signal` is aborted when the
// call is over for its caller.
const replies = {
  async *Greet(requests, metadata) {
    for await (const { name } of requests) {
      if (!name) throw new Refusal(grpc.status.INVALID_ARGUMENT, "one name, please");
      const german = metadata.some(({ name, value }) => name === "accept-language" && `${value}` === "de");
      yield { text: `${german ? "Hallo" : "Hello"}, ${name}!` };
    }
  },

  async *Count(requests, metadata, signal) {
    for await (const { limit, pause_ms } of requests) {
      for (let number = 1n; number <= BigInt(limit); number++) {
        yield { number: `${number}` };
        await pause(pause_ms, null, { signal });
      }
    }
  },

  async *Sum(requests) {
    let total = 0n;
    for await (const { number } of requests) total += BigInt(number);
    yield { total: `${total}` };
  },

  async *Chat(requests) {
    for await (const { text } of requests) yield { text: `You said: ${text}` };
  },
};

const methods = new Map(
  Object.entries(greeter).map(([name, { path, requestDeserialize, responseSerialize }]) => [
    path,
    { serve: replies[name], requestDeserialize, responseSerialize },
  ]),
);

// One tunnel. `run` dials and serves until it ends; `leaving` is a signal that says when to go.
class Tunnel {
  calls = new Map(); // request_id: { payloads, left, answered }
  registeredAt = Infinity;

  async run(apiKey, leaving) {
    const client = connect(registry, KEEPALIVE);
    this.stream = client.EstablishConnection();
    this.stream.setMaxListeners(0); // every call may wait until there is room
    const over = new AbortController();
    leaving.addEventListener("abort", () => this.leave(), { signal: over.signal });
    const heartbeats = setInterval(() => this.stream.write({ heartbeat: {} }), HEARTBEAT_INTERVAL_MS);
    try {
      const features = ["stream", "cancel", "headers"];
      this.stream.write({ register: { api_key: apiKey, services: ["demo.Greeter"], features } });
      for await (const frame of this.stream) this.take(frame);
    } finally {
      clearInterval(heartbeats);
      over.abort();
      for (const call of this.calls.values()) cancel(call);
      client.close();
    }
  }

  get lasted() {
    return performance.now() - this.registeredAt >= STABLE_AFTER_MS;
  }

  take({ message_type, status, request, cancel: cancelled }) {
    if (message_type === "status" && status.status === "CONNECTED") {
      this.registeredAt = performance.now();
      console.log(`registered: connection=${status.connection_id}`);
    } else if (message_type === "request") {
      this.takeRequest(request);
    } else if (message_type === "cancel" && this.calls.has(cancelled.request_id)) {
      cancel(this.calls.get(cancelled.request_id));
    }
  }

  takeRequest(request) {
    const { request_id, streaming_info: info, payload } = request;
    if (info.sequence_number === "0") {
      // The tunnel is read all the time, so what a method has not taken waits here.
      const call = { payloads: new PassThrough({ objectMode: true }), left: new AbortController() };
      this.calls.set(request_id, call);
      call.answered = this.answer(request, call).finally(() => this.calls.delete(request_id));
    }
    const call = this.calls.get(request_id);
    if (!call) return; // its answer is complete already
    // A call in one frame has a message, if an empty one; the end of any other call has none.
    if (info.stream_type === "UNARY" || !info.is_stream_end) call.payloads.write(payload);
    if (info.is_stream_end) call.payloads.end();
  }

  async answer({ request_id, method_path, metadata }, { payloads, left: { signal } }) {
    const end = { request_id, streaming_info: { is_stream_end: true } };
    try {
      const method = methods.get(method_path);
      if (!method) throw new Refusal(grpc.status.UNIMPLEMENTED, `no method ${method_path}`);
      const requests = decode(payloads, method.requestDeserialize);
      for await (const reply of method.serve(requests, metadata, signal)) {
        const payload = method.responseSerialize(reply);
        await this.send({ response: { request_id, streaming_info: {}, payload } }, signal);
      }
    } catch (error) {
      Object.assign(end, ending(error, signal, method_path));
    }
    this.stream.write({ response: end });
  }

  // Waits until the gateway takes more.
  async send(frame, signal) {
    signal.throwIfAborted();
    if (!this.stream.write(frame)) await once(this.stream, "drain", { signal });
  }

  async leave() {
    if (this.registeredAt === Infinity) return this.stream.cancel();
    console.log(`leaving: calls=${this.calls.size}`);
    this.stream.write({ status: { status: "DISCONNECTED" } });
    await pause(1_000); // calls that the gateway sent before it read the goodbye still come
    while (this.calls.size > 0) await Promise.all([...this.calls.values()].map((call) => call.answered));
    this.stream.end();
  }
}

async function* decode(payloads, deserialize) {
  for await (const payload of payloads) yield deserialize(payload);
}

function cancel({ payloads, left }) {
  left.abort();
  payloads.destroy();
}

// The status that a method's error becomes.
function ending(error, signal, method) {
  if (signal.aborted) return { status_code: grpc.status.CANCELLED };
  if (error instanceof Refusal) return { status_code: error.code, error_message: error.message };
  console.error(`failed: method=${method}`, error);
  return { status_code: grpc.status.INTERNAL, error_message: "the method failed" };
}

// Keeps a tunnel open until `leaving`; false if the gateway does not let it in.
async function keepTunnel(apiKey, leaving) {
  let delay = DELAY_FIRST_MS;
  while (!leaving.aborted) {
    const tunnel = new Tunnel();
    const error = await tunnel.run(apiKey, leaving).catch((error) => error);
    if (leaving.aborted) break;
    const code = grpc.status[error?.code ?? grpc.status.OK];
    console.error(`tunnel ended: code=${code} message=${error?.details ?? ""}`);
    if (FINAL.includes(error?.code)) return false;
    if (tunnel.lasted) delay = DELAY_FIRST_MS;
    await pause(delay * (0.8 + 0.4 * Math.random()), null, { signal: leaving }).catch(() => {});
    delay = Math.min(delay * 1.6, DELAY_MAX_MS);
  }
  return true;
}

if (!process.env.ADIT_API_KEY) throw new Error("ADIT_API_KEY is not set");
const leaving = new AbortController();
// A second signal ends the program at once, as it does by default.
for (const name of ["SIGTERM", "SIGINT"]) process.once(name, () => leaving.abort());
if (!(await keepTunnel(process.env.ADIT_API_KEY, leaving.signal))) process.exitCode = 1;
