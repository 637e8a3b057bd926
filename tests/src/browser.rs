//! A real browser, driven by WebDriver (<https://www.w3.org/TR/webdriver2/>): Chromium, by its own driver.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::process::{Process, TempDir, until};
use crate::redis::free_port;

/// How long the driver, the browser or a page may take, on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// How many browsers run at a time: each has a dozen processes.
static PLACES: Semaphore = Semaphore::const_new(2);

/// What the driver calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys by the code points that WebDriver gives them.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs)]
pub enum Key {
    Tab = 0xe004,
    Enter = 0xe007,
    Space = 0x20,
    End = 0xe010,
    Home = 0xe011,
    Left = 0xe012,
    Right = 0xe014,
}

/// A browser with one window. Dropped, it is ended.
#[derive(Debug)]
pub struct Browser {
    http: reqwest::Client,
    session: String,
    browser: Option<Pid>,
    _driver: Process,
    _home: TempDir,
    _place: SemaphorePermit<'static>,
}

/// The driver, where it is on this machine. Where it is not, says aloud that what `untested` says is not
/// tested.
#[must_use]
pub fn driver(untested: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|folder| folder.join("chromedriver"))
        .find(|file| file.is_file());
    if found.is_none() {
        // Not through `eprintln`, which the test harness would keep to itself.
        let told = format!(
            "\n*** SKIPPED: no Chromium with its driver on this machine: {untested} NOT tested ***\n\n"
        );
        let _ = io::stderr().write_all(told.as_bytes());
    }
    found
}

impl Browser {
    /// Starts `driver` and, by it, a browser that runs `script` before any of a page's own.
    ///
    /// # Panics
    /// When one of them does not come up.
    pub async fn start(driver: PathBuf, script: &str) -> Self {
        let place = PLACES.acquire().await.expect("it is never closed");
        let home = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let mut command = Command::new(driver);
        command
            .arg(format!("--port={port}"))
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path())
            .env("XDG_CACHE_HOME", home.path());
        let process = Process::start(command);
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(2 * WITHIN)
            .build()
            .expect("a client");
        let mut browser = Self {
            http,
            session: format!("http://127.0.0.1:{port}"),
            browser: None,
            _driver: process,
            _home: home,
            _place: place,
        };
        until("the driver is ready", WITHIN, async || {
            let status = browser.http.get(format!("{}/status", browser.session));
            status
                .send()
                .await
                .ok()
                .filter(|answer| answer.status().is_success())
        })
        .await;
        let begun = browser.command(Method::POST, "/session", wanted()).await;
        let id = begun["capabilities"]["goog:processID"].as_i64();
        browser.browser = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        browser.session += &format!("/session/{}", begun["sessionId"].as_str().expect("an id"));
        let source = json!({ "source": script });
        browser
            .devtools("Page.addScriptToEvaluateOnNewDocument", source)
            .await;
        browser
    }

    /// Sends a command, and gives what the driver answers.
    async fn command(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.session);
        let mut request = self.http.request(method.clone(), &url);
        if method == Method::POST {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.expect("an answer of the driver");
        let status = answer.status();
        let text = answer.text().await.expect("text");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert!(status.is_success(), "{path} {body}: {}", answer["value"]);
        answer["value"].clone()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.command(Method::POST, path, body).await
    }

    /// Sends a command of the DevTools protocol.
    ///
    /// # Panics
    /// When the browser refuses it, as all that follows.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("/goog/cdp/execute", body).await
    }

    /// Opens an address.
    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// Presses the back button.
    pub async fn back(&self) {
        self.post("/back", json!({})).await;
    }

    /// What a script's `return` gives.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    /// What a script gives that calls `done` at its end.
    pub async fn run_async(&self, script: &str) -> Value {
        let script = format!("const done = arguments[0]; {script}");
        self.post("/execute/async", json!({ "script": script, "args": [] }))
            .await
    }

    /// Waits until an expression is true (or anything but false, null, 0 and empty), and gives it.
    pub async fn until(&self, expression: &str) -> Value {
        let script = format!("try {{ return {expression} }} catch {{ return null }}");
        until(expression, WITHIN, async || {
            let found = self.run(&script).await;
            let is_true = match &found {
                Value::Null => false,
                Value::Bool(found) => *found,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty(),
                _ => true,
            };
            is_true.then_some(found)
        })
        .await
    }

    /// Clicks on the first element that the selector finds, where a mouse would.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/click"), json!({}))
            .await;
    }

    /// Types into the first element that the selector finds, whose contents go.
    pub async fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/clear"), json!({}))
            .await;
        let text = format!("{text}{}", key(Key::Enter));
        self.post(
            &format!("/element/{element}/value"),
            json!({ "text": text }),
        )
        .await;
    }

    async fn element(&self, selector: &str) -> String {
        let body = json!({ "using": "css selector", "value": selector });
        let found = self.post("/element", body).await;
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Presses keys, one after the other.
    pub async fn press(&self, keys: &[Key]) {
        let strokes = keys.iter().flat_map(|pressed| {
            ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key(*pressed) }))
        });
        let strokes: Vec<Value> = strokes.collect();
        self.act(json!({ "type": "key", "id": "keyboard", "actions": strokes }))
            .await;
    }

    /// Drags a pointer (`mouse` or `touch`) from one point of the window to another on the same height.
    pub async fn drag(&self, pointer: &str, from: f64, to: f64, y: f64) {
        let step =
            |x: f64| json!({ "type": "pointerMove", "x": x as i64, "y": y as i64, "duration": 30 });
        let button = |kind| json!({ "type": kind, "button": 0 });
        let actions = json!([
            step(from),
            button("pointerDown"),
            step((from + to) / 2.0),
            step(to),
            button("pointerUp")
        ]);
        let parameters = json!({ "pointerType": pointer });
        self.act(json!({
            "type": "pointer", "id": pointer, "parameters": parameters, "actions": actions
        }))
        .await;
    }

    async fn act(&self, source: Value) {
        self.post("/actions", json!({ "actions": [source] })).await;
    }

    /// Sets the window's size in pixels.
    pub async fn resize(&self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    /// Has the reader prefer `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let feature = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": feature }))
            .await;
    }

    /// What the browser has logged of errors since this was last asked.
    pub async fn errors(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().expect("a list").iter();
        entries
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The picture of what the window shows, a PNG in base64.
    pub async fn screenshot(&self) -> String {
        let picture = self.command(Method::GET, "/screenshot", Value::Null).await;
        picture.as_str().expect("a picture").to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its driver, which is killed, would leave it behind.
        if let Some(browser) = self.browser {
            let _ = kill_process(browser, Signal::KILL);
        }
    }
}

fn key(key: Key) -> char {
    char::from_u32(key as u32).expect("a code point")
}

/// What kind of browser is wanted.
fn wanted() -> Value {
    let mut options = json!({ "args": [
        // It opens nothing but what the test serves; in a container its sandbox may be impossible.
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        "--window-size=1440,1000", "--lang=en-GB", "--no-first-run", "--disable-background-networking",
        "--force-color-profile=srgb"
    ] });
    if let Some(program) = env::var_os("EMPLOYEE_INCIDENTS_CHROMIUM") {
        options["binary"] = json!(program.to_string_lossy());
    }
    json!({ "capabilities": { "alwaysMatch": {
        "goog:chromeOptions": options,
        "goog:loggingPrefs": { "browser": "ALL" },
        "timeouts": { "script": 120_000, "pageLoad": 60_000 },
    } } })
}
