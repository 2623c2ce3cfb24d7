//! Compiles the contracts in `proto/` without protoc.

use std::error::Error;
use std::path::PathBuf;

/// The contracts that the gateway itself serves beside tunnels; it answers questions about them too.
const OWN: [&str; 4] = [
    "proto/adit/events/v1/events.proto",
    "proto/grpc/health/v1/health.proto",
    "proto/grpc/reflection/v1/reflection.proto",
    "proto/grpc/reflection/v1alpha/reflection.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let contracts = protox::compile(["proto/registry.proto"], ["proto"])?;
    // Payloads are `Bytes`, so that decoding a frame slices its buffer instead of copying it.
    tonic_prost_build::configure().bytes(".").compile_fds(contracts)?;

    let mut own = protox::Compiler::new(["proto"])?;
    // A file that another one imports is asked for by its name too.
    own.include_imports(true);
    own.open_files(OWN)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("own_files.binpb"), own.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(false)
        // The two versions of reflection are the same on the wire: one set of messages for both.
        .extern_path(".grpc.reflection.v1alpha", "crate::grpc::own_proto::reflection")
        .compile_fds(own.file_descriptor_set())?;
    Ok(())
}
