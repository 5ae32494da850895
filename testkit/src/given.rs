//! Folders of files that are not part of this repository: a test reads them where they are named. Knows their variables;
//! must not know a file.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The folder of real files that `SQEP_DATA` names. Without it a test has nothing to do, and says so.
pub fn data() -> Option<PathBuf> {
    folder("SQEP_DATA")
}

/// The folder of golden values that `SQEP_GOLDEN` names. Without it a test has nothing to do, and says so.
pub fn golden() -> Option<PathBuf> {
    folder("SQEP_GOLDEN")
}

/// A folder that is named and not there is a failure, not a reason to test nothing.
#[expect(clippy::print_stdout, reason = "a test says what it leaves out")]
fn folder(variable: &str) -> Option<PathBuf> {
    let Some(named) = env::var_os(variable).filter(|named| !named.is_empty()) else {
        println!("{variable} names no folder: nothing was tested");
        return None;
    };
    // Tests run in the folder of their crate; the variable is given from the root of the workspace.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(named);
    assert!(folder.is_dir(), "{variable} names {}, which is no folder", folder.display());
    Some(folder)
}
