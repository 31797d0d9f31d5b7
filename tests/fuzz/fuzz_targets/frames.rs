#![no_main]

use libfuzzer_sys::fuzz_target;
use posemesh_node_registration::fuzzing;

fuzz_target!(|data: &[u8]| fuzzing::frames(data));
