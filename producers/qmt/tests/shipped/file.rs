//! What is shipped: one short file that old Pythons read.

use std::process::Command;

use crate::standin::{python, root};

#[test]
fn the_agent_is_one_short_file_that_python_3_6_reads() {
    let path = root().join("producers/qmt/agent/sqep_qmt_agent.py");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().count() <= 150, "{} lines", text.lines().count());
    assert!(text.is_ascii(), "a build that takes it for another code page reads the same");
    let check =
        "import ast, sys; ast.parse(open(sys.argv[1], encoding='utf-8').read(), feature_version=(3, 6))";
    let status = Command::new(python()).args(["-c", check]).arg(&path).status().unwrap();
    assert!(status.success());
    let modules = [
        "argparse",
        "contextlib",
        "json",
        "math",
        "os",
        "select",
        "socket",
        "ssl",
        "sys",
        "threading",
        "time",
        "xtquant",
    ];
    for line in
        text.lines().map(str::trim).filter(|line| line.starts_with("import ") || line.starts_with("from "))
    {
        let names =
            line.trim_start_matches("import ").trim_start_matches("from ").split(" import ").next().unwrap();
        assert!(names.split(", ").all(|name| modules.contains(&name)), "{line}");
    }
}
