//! The settings: whatever the file and the environment hold, no password shows, and what is shown is
//! read back as the same.

use domain::settings::{Settings, Sources};

/// Stands in for every password.
const CANARY: &str = "cAnArY-7f3e";

/// How a file may hold passwords, well or badly.
const PASSWORDS: [&str; 8] = [
    "SERVICE_PASSWORD: 'CANARY'\nUPSTREAM_PASSWORD: CANARY\nREDIS_URL: 'redis://me:CANARY@h:1/2'\n",
    "SERVICE_PASSWORD: '$argon2id$CANARY'\nREDIS_URL: 'redis://:CANARY@h h'\n",
    "SERVICE_PASSWORD: [CANARY]\nUPSTREAM_PASSWORD: {CANARY: CANARY}\nREDIS_URL: CANARY\n",
    "SERVICE_PASSWORD: '$2b$CANARY'\nUPSTREAM_PASSWORD: CANARY\nREDIS_URL: 'http://CANARY@h'\n",
    "SERVICE_PASSWORD: |\n  CANARY\nREDIS_URL: [redis://h, CANARY]\n",
    "BASE_ENDPOINT: http://u/\nSERVICE_ID: a\nSERVICE_PASSWORD: \"CANARY\"\n",
    "SERVICE_PASSWORD: \"CANARY\n",
    "{SERVICE_PASSWORD: CANARY, REDIS_URL: 'rediss://CANARY:CANARY@h'\n",
];

/// Reads the settings from a file and the environment: a first part that chooses how passwords are
/// held, the rest of the file, and lines of the environment.
///
/// # Panics
/// When a password shows, or what is shown is something else when it is read again.
pub fn check(data: &[u8]) {
    let [choice, file, environment] = super::parts(data);
    let choice = usize::from(choice.first().copied().unwrap_or_default());
    let passwords = PASSWORDS[choice % PASSWORDS.len()].replace("CANARY", CANARY);
    let file = passwords + &String::from_utf8_lossy(file);
    let environment = String::from_utf8_lossy(environment);
    let overrides = |key: &str| {
        let mut lines = environment.lines().filter_map(|line| line.split_once('='));
        let (_, value) = lines.find(|(name, _)| *name == key)?;
        Some(value.into())
    };
    let sources = Sources {
        file: &file,
        overrides: &overrides,
        // A secret of a file is hidden as any other.
        secret_file: &|_| Ok(CANARY.into()),
    };
    match Settings::read(&sources) {
        Err(errors) => hidden(&errors.to_string()),
        Ok(settings) => {
            // A password as a user id would rightly show: the last of the passwords has one.
            let shown = settings.describe();
            if choice % PASSWORDS.len() != 7 {
                hidden(&shown);
            }
            hidden(&format!("{settings:?}"));
            if let Err(error) = settings.account() {
                hidden(&error.to_string());
            }
            if let Err(error) = settings.upstream() {
                hidden(&error.to_string());
            }
            let again = Settings::read(&Sources::file(&shown)).expect("what is shown can be read");
            assert_eq!(again.describe(), shown);
        }
    }
}

fn hidden(text: &str) {
    assert!(!text.contains(CANARY), "a password shows: {text}");
}
