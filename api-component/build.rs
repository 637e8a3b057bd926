//! Makes of the dashboard's files what is served: each as it is and compressed, with entity tags, and all of
//! them in a folder of the address that changes when one of them does.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use brotli::CompressorWriter;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// Where the files are, from either of the packages that are built of the same source.
const FOLDERS: [&str; 2] = ["dashboard", "../dashboard"];

/// The page itself, which names the others.
const PAGE: &str = "index.html";

/// How the page names the folder of the others, within quotes.
const NAMED: &str = "\"dashboard/";

/// The hexadecimal digits of a hash that tell contents apart.
const DIGITS: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let mut folders = FOLDERS.into_iter().map(Path::new);
    let folder = folders.find(|folder| folder.is_dir());
    let folder = folder.ok_or("the folder `dashboard` is not there")?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().into_string().map_err(|_| "a name")?);
    }
    names.sort();
    let mut files = Vec::new();
    for name in names {
        files.push((fs::read(folder.join(&name))?, name));
    }
    let version = version(&files);
    let mut table = format!("const VERSION: &str = {version:?};\n\nstatic FILES: &[File] = &[\n");
    for (contents, name) in files {
        let contents = match name == PAGE {
            true => with_version(&contents, &version)?,
            false => contents,
        };
        table += &entry(&name, &contents, &out)?;
    }
    table += "];\n";
    fs::write(out.join("dashboard.rs"), table)?;
    Ok(())
}

/// Changes when anything does.
fn version(files: &[(Vec<u8>, String)]) -> String {
    let mut all = Sha256::new();
    for (contents, name) in files {
        for part in [name.as_bytes(), contents] {
            all.update((part.len() as u64).to_be_bytes());
            all.update(part);
        }
    }
    hexadecimal(&all.finalize())
}

/// The page as it names its files for good: an address whose contents never change may be kept for ever.
fn with_version(page: &[u8], version: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let page = str::from_utf8(page)?;
    Ok(page
        .replace(NAMED, &format!("{NAMED}{version}/"))
        .into_bytes())
}

/// Writes what is served of a file, and gives its line of the table.
fn entry(name: &str, contents: &[u8], out: &Path) -> Result<String, Box<dyn Error>> {
    let mut line = format!(
        "    File {{ name: {name:?}, media_type: {:?}, tag: {:?}",
        media_type(name)?,
        hexadecimal(&Sha256::digest(contents)),
    );
    for (coding, bytes) in [
        ("identity", contents.to_vec()),
        ("gzip", gzip(contents)?),
        ("br", brotli(contents)?),
    ] {
        let path = out.join(format!("{name}.{coding}"));
        fs::write(&path, bytes)?;
        write!(line, ", {coding}: include_bytes!({path:?})")?;
    }
    line += " },\n";
    Ok(line)
}

fn media_type(name: &str) -> Result<&'static str, String> {
    let (_, extension) = name.rsplit_once('.').unwrap_or_default();
    Ok(match extension {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return Err(format!("{name}: what is served as what is to be said here")),
    })
}

fn gzip(contents: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(contents)?;
    Ok(encoder.finish()?)
}

fn brotli(contents: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = CompressorWriter::new(Vec::new(), 1 << 16, 11, 18);
    encoder.write_all(contents)?;
    encoder.flush()?;
    Ok(encoder.into_inner())
}

fn hexadecimal(hash: &[u8]) -> String {
    let mut text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(DIGITS);
    text
}
