//! Generates messages from `metrics.proto`.

fn main() {
    println!("cargo::rerun-if-changed=metrics.proto");
    protobuf_codegen::Codegen::new()
        .pure()
        .include(".")
        .input("metrics.proto")
        .cargo_out_dir("generated")
        .run_from_script();
}
