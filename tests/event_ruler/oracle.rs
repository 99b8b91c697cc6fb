//! AWS's own Event Ruler, where Java and Maven are found.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// One question: a pattern, an event, and patterns that together should say the same as the first.
pub(super) struct Question {
    pub(super) pattern: String,
    pub(super) event: String,
    pub(super) branches: Vec<String>,
}

/// The answer to the pattern, and to the branches (`None`: there are none). `None` inside: refused.
pub(super) type Answer = (Option<bool>, Option<Option<bool>>);

/// Asks all questions of one process.
///
/// # Errors
/// Why it cannot be asked on this machine.
pub(super) fn ask(questions: &[Question]) -> Result<Vec<Answer>, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/event_ruler");
    let class_path = class_path(&here)?;
    let mut child = Command::new("java")
        .args(["-Xmx1g", "-cp", &class_path])
        .arg(here.join("Oracle.java"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("java: {error}"))?;
    let mut stdin = child.stdin.take().ok_or("java without standard input")?;
    let mut text = String::new();
    for Question { pattern, event, branches } in questions {
        text.push_str(
            &[pattern, event].into_iter().chain(branches).map(String::as_str).collect::<Vec<_>>().join("\t"),
        );
        text.push('\n');
    }
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().map_err(|error| format!("java: {error}"))?;
    writer.join().map_err(|_| "writer panicked")?.map_err(|error| format!("java: {error}"))?;
    let answers = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    assert_eq!(answers.lines().count(), questions.len(), "one answer a question");
    let one = |answer: u8| match answer {
        b'1' => Some(Some(true)),
        b'0' => Some(Some(false)),
        b'R' => Some(None),
        b'-' => None,
        other => panic!("answer {other}"),
    };
    let answer = |line: &str| (one(line.as_bytes()[0]).unwrap(), one(line.as_bytes()[1]));
    Ok(answers.lines().map(answer).collect())
}

/// Has Maven find Event Ruler, once.
fn class_path(here: &Path) -> Result<String, String> {
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("event_ruler");
    fs::create_dir_all(&work).map_err(|error| error.to_string())?;
    let found = work.join("class_path.txt");
    if let Ok(known) = fs::read_to_string(&found)
        && known.split(':').all(|jar| Path::new(jar).exists())
    {
        return Ok(known);
    }
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(here.join("pom.xml"))
        .arg("dependency:build-classpath")
        .arg(format!("-Dmdep.outputFile={}", found.display()))
        .output()
        .map_err(|error| format!("mvn: {error}"))?;
    if !output.status.success() {
        return Err(format!("mvn: {}", String::from_utf8_lossy(&output.stdout)));
    }
    fs::read_to_string(&found).map_err(|error| error.to_string())
}
