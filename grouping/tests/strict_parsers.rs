//! Whatever upstream puts into members that nobody here knows, strict parsers read the documents, and
//! one bad row costs no other.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use domain::incident::IncidentType;
use grouping::attribute::Identities;
use grouping::report::Report;
use grouping::rows::Run;

/// What a member of a row may be, as bytes behind the row's other members; and whether such a row can
/// be used.
fn members() -> Vec<(Vec<u8>, bool)> {
    let good = [
        r#""x":-0"#,
        r#""x":1e-999"#,
        r#""x":0e999"#,
        r#""x":1E+2"#,
        r#""x":18446744073709551615"#,
        r#""x":-9223372036854775808"#,
        r#""x":0.1000000000000000000000000000000000000000000001"#,
        r#""x":"\u0000""#,
        r#""x":"\ud83d\ude00""#,
        r#""x":"\ufeff\uffff""#,
        "\"x\":\"\u{2028}\u{7f}\u{feff}\u{fffe}\"",
        r#""x":"},{\"priority\":\"low\"},{""#,
        r#""":"""#,
        r#""x":1,"x":2,"priority":"low""#,
        r#""__proto__":{"a":null},"constructor":true"#,
    ];
    let bad = [
        r#""x":1e999"#,
        r#""x":-1e309"#,
        r#""x":18446744073709551616"#,
        r#""x":[{"y":123456789012345678901234567890}]"#,
        r#""x":01"#,
        r#""x":-"#,
        r#""x":+1"#,
        r#""x":.5"#,
        r#""x":1."#,
        r#""x":1e"#,
        r#""x":0x10"#,
        r#""x":NaN"#,
        r#""x":[-Infinity]"#,
        r#""x":nan"#,
        r#""x":None"#,
        r#""x":True"#,
        r#""x":undefined"#,
        r#""x":"#,
        r#""x""#,
        r#""x":1,"#,
        r#""x":[1,]"#,
        r#""x" 1"#,
        r#""x":1 "y":2"#,
        r#"x:1"#,
        r#"'x':'y'"#,
        r#""x":1 /* one */"#,
        r#""x":"\ud800""#,
        r#""x":"\udc00\ud800""#,
        r#""\udfff":1"#,
        r#""x":"\ud800\u0041""#,
        r#""x":"\x41""#,
        r#""x":"\u12""#,
        "\"x\":\"\n\"",
        "\"x\":\"\t\"",
        "\"x\":\"\u{0}\"",
        "\"x\":\"\u{1f}\"",
        "\"x\u{1}\":1",
        "\u{feff}\"x\":1",
    ];
    let bytes: [&[u8]; 7] = [
        b"\"x\":\"\xff\"",
        b"\"x\":\"caf\xe9\"",
        b"\"x\":\"\xc0\xaf\"",
        b"\"x\":\"\xed\xa0\x80\"",
        b"\"x\":\"\xe2\x82\"",
        b"\"\xf5\x80\x80\x80\":1",
        b"\"x\":\xff",
    ];
    let deep = |open: &str, close: &str| {
        let value = format!("\"x\":{}1{}", open.repeat(500), close.repeat(500));
        (value.into_bytes(), false)
    };
    let good = good.map(|member| (member.as_bytes().to_vec(), true));
    let bad = bad.map(|member| (member.as_bytes().to_vec(), false));
    let bytes = bytes.map(|member| (member.to_vec(), false));
    let deep = [deep("[", "]"), deep("{\"y\":", "}")];
    good.into_iter()
        .chain(bad)
        .chain(bytes)
        .chain(deep)
        .collect()
}

/// Rows of `field`, one with each of the members and a plain one behind each.
fn body(field: &str, identity: &str) -> Vec<u8> {
    let plain = format!(r#"{{"priority":"low","{field}":{identity},"timestamp":1}}"#);
    let mut body = b"\xef\xbb\xbf{\"next\":\"\\ud800\",\"results\":[".to_vec();
    for (member, _) in members() {
        write!(
            body,
            r#"{{"priority":"high","{field}":{identity},"timestamp":2,"#
        )
        .unwrap();
        body.extend_from_slice(&member);
        write!(body, "}} ,\n{plain},").unwrap();
    }
    write!(body, "{plain}]}}").unwrap();
    body
}

fn report() -> Report {
    let types: Vec<IncidentType> = IncidentType::defaults()
        .into_iter()
        .filter(|kind| ["denial", "probing"].contains(&kind.name.as_str()))
        .collect();
    let bodies = [body("reported_by", "7"), body("ip", "\"17.1.2.3\"")];
    let runs = types.iter().zip(bodies);
    let runs = runs.map(|(kind, body)| Some(Run::parse(kind, Bytes::from(body)).unwrap()));
    Report::build(&types, runs.collect(), &Identities::default()).unwrap()
}

#[test]
fn a_bad_row_is_set_aside_and_no_other() {
    let (report, members) = (report(), members());
    let good = members.iter().filter(|(_, is_good)| *is_good).count() as u64;
    let all = members.len() as u64;
    let [denial, probing] = &report.counts[..] else {
        panic!("{:?}", report.counts);
    };
    assert_eq!(denial.fetched, 2 * all + 1);
    assert_eq!(denial.rejected, all - good, "{}", text(&report.rejected));
    assert_eq!(denial.reported, good + all + 1);
    assert_eq!(probing.unattributed, good + all + 1);
    assert_eq!(probing.rejected, all - good);
}

fn text(json: &[u8]) -> &str {
    std::str::from_utf8(json).unwrap()
}

#[test]
fn serde_json_reads_the_documents() {
    let report = report();
    for json in [&report.json, &report.unattributed, &report.rejected] {
        serde_json::from_slice::<serde_json::Value>(json).unwrap();
    }
}

/// Reads all documents, one a line, from its standard input.
const PYTHON: &str = "
import sys, orjson, simdjson
for line in sys.stdin.buffer.read().split(b'\\n'):
    orjson.loads(line)
    simdjson.Parser().parse(line, True)
";

const NODE: &str = "
for (const line of require('fs').readFileSync(0, 'utf8').split('\\n')) JSON.parse(line)
";

/// The parsers that this machine has.
#[test]
fn other_strict_parsers_read_the_documents() {
    let report = report();
    let documents = [&report.json[..], &report.unattributed, &report.rejected];
    // White space between tokens only: within texts a line break is escaped.
    let lines: Vec<Vec<u8>> = documents
        .map(|json| {
            json.iter()
                .map(|byte| if *byte == b'\n' { b' ' } else { *byte })
                .collect()
        })
        .into();
    let input = lines.join(&b'\n');
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("strict-parsers");
    let has_packages = python_packages(&packages);
    let parsers: [(bool, &str, &[&str]); 3] = [
        (has_packages, "python3", &["-c", PYTHON]),
        (is_there("node"), "node", &["-e", NODE]),
        (is_there("jq"), "jq", &["-e", "type == \"object\""]),
    ];
    for (is_there, program, arguments) in parsers {
        if !is_there {
            eprintln!("{program}, or what it needs, is not on this machine: not tried");
            continue;
        }
        let mut parser = Command::new(program)
            .args(arguments)
            .env("PYTHONPATH", &packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        parser.stdin.take().unwrap().write_all(&input).unwrap();
        assert!(
            parser.wait().unwrap().success(),
            "{program} refuses a document"
        );
    }
}

fn is_there(program: &str) -> bool {
    let version = Command::new(program).arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Whether Python has orjson and simdjson, which are fetched if they can be.
fn python_packages(folder: &Path) -> bool {
    let python = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        let output = command.args(arguments).env("PYTHONPATH", folder).output();
        output.is_ok_and(|output| output.status.success())
    };
    let are_there = || python(&["-c", "import orjson, simdjson"]);
    if are_there() {
        return true;
    }
    let folder = folder.to_string_lossy();
    python(&[
        "-m",
        "pip",
        "install",
        "--quiet",
        "--target",
        &folder,
        "orjson",
        "pysimdjson",
    ]);
    are_there()
}
