// How the examples reach the gateway, and what they say to it.
//
// ADIT_ADDRESS is host:port, or https://host:port for a gateway with TLS. Then ADIT_CA_FILE names whom
// to trust if not the usual authorities, and ADIT_CERT_FILE and ADIT_KEY_FILE say who is calling.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const { ADIT_ADDRESS = "127.0.0.1:50051", ADIT_CA_FILE, ADIT_CERT_FILE, ADIT_KEY_FILE } = process.env;

// Numbers of 64 bits come as strings: JavaScript's own would round them.
const FORMS = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };

// The definitions of a contract, by full name.
export function load(contract) {
  return protoLoader.loadSync(fileURLToPath(new URL(`../../${contract}`, import.meta.url)), FORMS);
}

// A client of one service of a contract.
export function connect(definition, options) {
  const Client = grpc.makeGenericClientConstructor(definition);
  return new Client(ADIT_ADDRESS.replace(/^https?:\/\//, ""), credentials(), options);
}

function credentials() {
  if (!ADIT_ADDRESS.startsWith("https://")) return grpc.credentials.createInsecure();
  const read = (path) => (path ? readFileSync(path) : null);
  return grpc.credentials.createSsl(read(ADIT_CA_FILE), read(ADIT_KEY_FILE), read(ADIT_CERT_FILE));
}
