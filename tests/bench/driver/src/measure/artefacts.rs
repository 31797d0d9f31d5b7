//! How large the things are that users install.

use std::io;

use super::Round;
use crate::results::Thing;

pub static SIZE: Thing = Thing { title: "Artefacts, stripped", unit: "MB", digits: 2, more_is_better: false };

pub const LIBRARY: &str = "libposemesh_node.so";
pub const WHEEL: &str = "Python wheel";
pub const PACKAGE: &str = "npm platform package, packed";

pub fn measure(round: &mut Round) -> io::Result<()> {
    // One build, one size.
    if round.effort.rust_only || round.number > 0 {
        return Ok(());
    }
    for (name, file) in [(LIBRARY, "libposemesh_node.so"), (WHEEL, "wheel"), (PACKAGE, "npm.tgz")] {
        let path = round.programs.artefact(file);
        let metadata = path
            .metadata()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        round.results.add(&SIZE, name, [metadata.len() as f64 / 1e6]);
    }
    Ok(())
}
