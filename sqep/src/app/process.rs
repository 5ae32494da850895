//! What a program exposes about itself beside its loops: version, start, memory. Must not know what it does.

use super::wall_ms;

/// What does not change while a program runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    started_ms: u64,
}

impl Process {
    /// Begins now.
    pub(super) fn start() -> Process {
        Process { started_ms: wall_ms() }
    }

    /// As Prometheus reads it.
    pub(super) fn render(self) -> String {
        let (version, started) = (env!("CARGO_PKG_VERSION"), self.started_ms / 1_000);
        let memory = resident_bytes().map(|bytes| format!("process_resident_memory_bytes {bytes}\n"));
        let text = format!(
            "# HELP sqep_build_info The version that runs.\n\
             # TYPE sqep_build_info gauge\n\
             sqep_build_info{{version=\"{version}\"}} 1\n\
             # HELP process_start_time_seconds When the program started.\n\
             # TYPE process_start_time_seconds gauge\n\
             process_start_time_seconds {started}\n\
             # HELP process_resident_memory_bytes Memory of the program that is in use.\n\
             # TYPE process_resident_memory_bytes gauge\n"
        );
        text + &memory.unwrap_or_default()
    }
}

/// Where the system tells it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}
