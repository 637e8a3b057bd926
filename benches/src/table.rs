//! Tables, for people as Markdown and for programs as JSON.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

/// A table.
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<(Vec<String>, Map<String, Value>)>,
}

impl Table {
    /// An empty one.
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: what people read, and what it means.
    pub(crate) fn row(&mut self, cells: &[String], values: Value) {
        let values = match values {
            Value::Object(values) => values,
            _ => Map::new(),
        };
        self.rows.push((cells.to_vec(), values));
    }

    fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n|", self.title);
        for column in &self.columns {
            let _ = write!(text, " {column} |");
        }
        text.push_str("\n|");
        for place in 0..self.columns.len() {
            text.push_str(if place == 0 { "---|" } else { "---:|" });
        }
        text.push('\n');
        for (cells, _) in &self.rows {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text
    }
}

/// Shows the tables and writes them to `folder`, as `<name>.md` and `<name>.json`.
pub(crate) fn publish(folder: &Path, name: &str, about: &Value, tables: &[Table]) -> Result<()> {
    let texts: Vec<String> = tables.iter().map(Table::markdown).collect();
    let text = format!("{}\n{}", about_line(about), texts.join("\n"));
    println!("{text}");
    let all: Vec<Value> = tables
        .iter()
        .map(|table| {
            let rows: Vec<&Map<String, Value>> = table.rows.iter().map(|(_, row)| row).collect();
            json!({ "title": table.title, "rows": rows })
        })
        .collect();
    let all = serde_json::to_string_pretty(&json!({ "about": about, "tables": all }))?;
    for (extension, contents) in [("md", text), ("json", all + "\n")] {
        let file = folder.join(format!("{name}.{extension}"));
        fs::write(&file, contents).with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("written to {}", file.display());
    }
    Ok(())
}

fn about_line(about: &Value) -> String {
    let text = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
    format!(
        "Measured on {}, {} processors, {} GiB; medians of {} interleaved rounds.\n",
        text("processor"),
        about["processors"],
        about["memory_gib"],
        about["rounds"]
    )
}

/// What machine this is.
pub(crate) fn about(rounds: u32) -> Value {
    let file = |name: &str| fs::read_to_string(name).unwrap_or_default();
    let cpuinfo = file("/proc/cpuinfo");
    let field = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = field(&file("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kib: u64 = memory
        .split(' ')
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "processor": field(&cpuinfo, "model name").unwrap_or_else(|| "an unknown processor".to_owned()),
        "processors": processors,
        "memory_gib": (kib + (1 << 19)) >> 20,
        "rounds": rounds,
    })
}

/// Seconds, in a unit that suits them.
pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.01 => format!("{:.0} ms", s * 1e3),
        s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

/// Answers a second.
pub(crate) fn rate(rate: f64) -> String {
    match rate {
        rate if rate >= 100.0 => format!("{rate:.0}"),
        rate => format!("{rate:.1}"),
    }
}

/// How many times as much `value` is as `base`.
pub(crate) fn ratio(value: f64, base: f64) -> String {
    let ratio = value / base;
    match ratio {
        r if r >= 9.95 => format!("{r:.0}×"),
        r if r >= 0.0995 => format!("{r:.1}×"),
        r => format!("{r:.2}×"),
    }
}

/// Bytes, for people.
pub(crate) fn bytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
