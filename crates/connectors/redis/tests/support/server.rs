//! Servers, started for a test and ended with it.

use std::{
    env,
    fmt::Display,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use proxystore_core::{Config, Value as Plain};
use proxystore_redis::resp::{self, Decoder, Value};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

use super::Checked;

/// How often another port is tried when somebody took the first one meanwhile.
const PORTS: usize = 5;

/// A server that runs.
pub(crate) struct Server {
    process: Child,
    directory: TempDir,
    arguments: Vec<String>,
    password: Option<String>,
    pub(crate) port: u16,
    /// Another port, wherever the options say `$BUS`.
    pub(crate) bus: u16,
}

impl Server {
    /// Starts a server with these options of its own besides those of all tests.
    pub(crate) fn start(options: &[&str]) -> Checked<Self> {
        // The path of a Unix socket must be short, whatever `TMPDIR` is.
        Self::start_in(TempDir::new_in("/tmp")?, &[], options)
    }

    /// Starts a sentinel, which keeps what it learns in its file.
    pub(crate) fn start_sentinel(directory: TempDir, file: &Path) -> Checked<Self> {
        let file = file.to_string_lossy().into_owned();
        Self::start_in(directory, &[&file, "--sentinel"], &[])
    }

    fn start_in(directory: TempDir, first: &[&str], options: &[&str]) -> Checked<Self> {
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        let first = first.iter().map(ToString::to_string);
        for _ in 0..PORTS {
            let (port, bus) = free_ports()?;
            let mut arguments: Vec<_> = first.clone().collect();
            arguments.extend(["--port".to_owned(), port.to_string()]);
            let options = options.iter();
            arguments.extend(options.clone().map(|option| match option.as_str() {
                "$BUS" => bus.to_string(),
                option => option.to_owned(),
            }));
            let password = options
                .skip_while(|option| *option != "--requirepass")
                .nth(1);
            if let Some(process) = launch(&arguments, directory.path())? {
                return Ok(Self {
                    process,
                    directory,
                    arguments,
                    password: password.cloned(),
                    port,
                    bus,
                });
            }
        }
        Err("no port stays free long enough to start a server".into())
    }

    /// Ends the server as a crash would.
    pub(crate) fn kill(&mut self) -> Checked {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Starts the server again on the same port.
    pub(crate) fn restart(&mut self) -> Checked {
        let started = launch(&self.arguments, self.directory.path())?;
        self.process = started.ok_or("the server's port was taken meanwhile")?;
        Ok(())
    }

    /// Makes the server stand still, and returns when it does.
    pub(crate) fn pause(&self) -> Checked {
        let process = Pid::from_child(&self.process);
        kill_process(process, Signal::STOP)?;
        // Whoever looks for its end later must find that.
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(process), stopped)?.ok_or("the server does not stop")?;
        Ok(())
    }

    /// Ends what `pause` began.
    pub(crate) fn resume(&self) -> Checked {
        let process = Pid::from_child(&self.process);
        Ok(kill_process(process, Signal::CONT)?)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The options of a connector to it by TCP.
    pub(crate) fn config(&self) -> Config {
        Config::new()
            .with("hostname", "127.0.0.1")
            .with("port", i64::from(self.port))
    }

    /// The options of a connector to it by its Unix socket.
    pub(crate) fn unix_config(&self) -> Config {
        let path = self.socket().to_string_lossy().into_owned();
        Config::new().with("path", Plain::Text(path))
    }

    /// Says something to the server; what it answers.
    pub(crate) fn say(&self, arguments: &[&[u8]]) -> Checked<Value> {
        let mut stream = UnixStream::connect(self.socket())?;
        if let Some(password) = &self.password {
            stream.write_all(resp::Command::of(&[b"AUTH", password.as_bytes()]).as_bytes())?;
            stream.read_exact(&mut [0; b"+OK\r\n".len()])?;
        }
        stream.write_all(resp::Command::of(arguments).as_bytes())?;
        let mut decoder = Decoder::new(1 << 30);
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 1 << 20]);
        loop {
            let (taken, value) = decoder.feed(&bytes)?;
            bytes.drain(..taken);
            match value {
                Some(Value::Error(text)) => return Err(text.into()),
                Some(value) => return Ok(value),
                None => {}
            }
            let read = stream.read(&mut piece)?;
            if read == 0 {
                return Err("the server ended the connection".into());
            }
            bytes.extend(&piece[..read]);
        }
    }

    /// Says a line of plain words.
    pub(crate) fn ask(&self, line: &str) -> Checked<Value> {
        let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        self.say(&words)
    }

    /// The names of everything in the database.
    pub(crate) fn names(&self) -> Checked<Vec<String>> {
        let answer = self.ask("KEYS *")?;
        let names = answer.as_array().ok_or("no names")?.iter();
        let mut names: Vec<_> = names
            .filter_map(|name| name.as_text().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    }

    /// A line of what the server says about itself.
    pub(crate) fn info(&self, name: &str) -> Checked<String> {
        let info = self.ask("INFO everything")?;
        let info = info.as_text().ok_or("no text")?;
        let lines = info.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(values.next().ok_or("no such line")?.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended in the test; whatever is wrong now harms nobody.
        let _ = self.kill();
    }
}

/// Starts a server and waits until it answers; none if its port is taken.
fn launch(arguments: &[String], directory: &Path) -> Checked<Option<Child>> {
    let program = env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    let socket = directory.join("socket");
    let mut command = Command::new(&program);
    // Where a file comes first, a sentinel is to start, which knows fewer options.
    let sentinel = arguments.iter().any(|argument| argument == "--sentinel");
    command
        .args(arguments)
        .args(["--daemonize", "no", "--loglevel", "notice", "--dir"])
        .arg(directory)
        .arg("--unixsocket")
        .arg(&socket);
    if !sentinel {
        command.args(["--save", ""]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut process = command.spawn().map_err(|error| {
        let program = program.display();
        format!("{program} cannot be started: {error}; install it, or set REDIS_SERVER")
    })?;
    let output = process.stdout.take().ok_or("no output")?;
    let mut lines = BufReader::new(output).lines();
    let mut said = Vec::new();
    for line in &mut lines {
        let line = line?;
        let monitors = sentinel && line.contains("+monitor");
        if monitors
            || line.contains("Ready to accept connections")
            || line.contains("Server initialized and loading")
        {
            // Whoever writes to a pipe that nobody reads stops one day.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(Some(process));
        }
        said.push(line);
    }
    process.wait()?;
    let said = said.join("\n");
    if said.contains("Address already in use") {
        return Ok(None);
    }
    Err(format!("a server did not start:\n{said}").into())
}

fn free_ports() -> Checked<(u16, u16)> {
    let one = TcpListener::bind("127.0.0.1:0")?;
    let other = TcpListener::bind("127.0.0.1:0")?;
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

/// A value of an option that is a text.
pub(crate) fn text(value: impl Display) -> Plain {
    Plain::Text(value.to_string())
}
