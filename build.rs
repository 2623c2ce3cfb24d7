//! Compiles the contracts in `proto/` without protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let contracts = protox::compile(["proto/registry.proto"], ["proto"])?;
    // Payloads are `Bytes`, so that decoding a frame slices its buffer instead of copying it.
    tonic_prost_build::configure().bytes(".").compile_fds(contracts)?;
    Ok(())
}
