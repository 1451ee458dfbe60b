//! Compiles the control messages, without a system protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/client.proto", "proto/peer.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    // A hello carries a token: its form for logs is written by hand.
    let mut config = prost_build::Config::new();
    config.bytes(["."]).skip_debug([".pelago.client.v1.Hello"]);
    config.compile_fds(descriptors)?;
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    Ok(())
}
