//! Passes on what pyo3 knows of the interpreter: limited API, version, whether it has a GIL.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
