//! The section `[audit]` of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Section `[audit]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AuditSettings {
    /// Rows of files or of a stream that one year (minutes: one day) may have, 32 bytes each; whoever has more asks for
    /// fewer securities or days at once.
    pub(crate) keys_max: usize,
    /// Where rows are kept between the two sides, 28 bytes each; by default the system's folder for temporary files.
    pub(crate) spool: Option<PathBuf>,
}

impl Default for AuditSettings {
    fn default() -> AuditSettings {
        AuditSettings { keys_max: 4_000_000, spool: None }
    }
}
