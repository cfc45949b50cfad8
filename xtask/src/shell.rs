//! Running other programs, so that a failure says which command it was.

use std::{
    fmt,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// A command line with its folder and environment, not yet run.
#[derive(Clone, Debug)]
pub struct Shell {
    program: String,
    arguments: Vec<String>,
    folder: PathBuf,
    environment: Vec<(String, String)>,
}

impl Shell {
    /// A command that runs in the repository's root unless told otherwise.
    pub fn new(program: impl Into<String>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), folder: root(), environment: Vec::new() }
    }

    pub fn args<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Prints the command and runs it, its output going to ours.
    ///
    /// # Errors
    /// When it cannot start or does not exit with 0.
    pub fn run(&self) -> Result<()> {
        println!("$ {self}");
        self.check(&self.expression().unchecked().run().with_context(|| self.cannot_start())?, "")
    }

    /// Runs the command, its output going to ours, and gives its exit code; 1 where a signal ended it.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn code(&self) -> Result<i32> {
        let output = self.expression().unchecked().run().with_context(|| self.cannot_start())?;
        Ok(output.status.code().unwrap_or(1))
    }

    /// Prints the command and becomes it: signals and the exit code are its own.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn replace(&self) -> Result<()> {
        println!("$ {self}");
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        #[cfg(unix)]
        return Err(std::os::unix::process::CommandExt::exec(&mut command)).with_context(|| self.cannot_start());
        #[cfg(not(unix))]
        std::process::exit(command.status().with_context(|| self.cannot_start())?.code().unwrap_or(1));
    }

    /// Runs the command in silence and gives its standard output, trimmed.
    ///
    /// # Errors
    /// When it cannot start or does not exit with 0; then what it wrote to standard error is in the message.
    pub fn text(&self) -> Result<String> {
        let output = self.output(None)?;
        self.check(&output, &String::from_utf8_lossy(&output.stderr))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs the command in silence, whatever its exit status. With a limit, it is killed when that has passed.
    ///
    /// # Errors
    /// When it cannot start or takes longer than the limit.
    pub fn output(&self, limit: Option<Duration>) -> Result<Output> {
        let expression = self.expression().stdin_null().stdout_capture().stderr_capture().unchecked();
        let handle = expression.start().with_context(|| self.cannot_start())?;
        let output = match limit {
            None => Some(handle.wait()?),
            Some(limit) => handle.wait_timeout(limit)?,
        };
        if let Some(output) = output {
            return Ok(output.clone());
        }
        handle.kill()?;
        bail!("`{self}` was stopped after {} s", limit.unwrap_or_default().as_secs())
    }

    /// Prints the command, runs it and shows its output up to a line that `found` takes something of; then stops it.
    ///
    /// # Errors
    /// When it cannot start, or ends or takes longer than the limit before such a line.
    pub fn until<T>(&self, limit: Duration, found: impl FnMut(String) -> Option<T>) -> Result<T> {
        println!("$ {self}");
        let reader = self.expression().stdin_null().unchecked().reader().with_context(|| self.cannot_start())?;
        let reader = Arc::new(reader);
        let (done, is_done) = mpsc::channel::<()>();
        let watched = Arc::clone(&reader);
        thread::spawn(move || {
            if is_done.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                // Its output then ends, which is what is reported.
                let _ = watched.kill();
            }
        });
        let lines = BufReader::new(&*reader).lines().map_while(Result::ok);
        let found = lines.inspect(|line| println!("{line}")).find_map(found);
        drop(done);
        reader.kill()?;
        found.with_context(|| format!("`{self}` printed nothing such within {} s", limit.as_secs()))
    }

    /// Whether the program can be started and ends well.
    pub fn works(&self) -> bool {
        self.output(None).is_ok_and(|output| output.status.success())
    }

    fn expression(&self) -> duct::Expression {
        let expression = duct::cmd(&self.program, &self.arguments).dir(&self.folder);
        self.environment.iter().fold(expression, |expression, (name, value)| expression.env(name, value))
    }

    fn check(&self, output: &Output, details: &str) -> Result<()> {
        match output.status.success() {
            true => Ok(()),
            false => bail!("`{self}` failed ({}) {details}", output.status),
        }
    }

    fn cannot_start(&self) -> String {
        format!("cannot start `{}`: is it installed?", self.program)
    }
}

impl fmt::Display for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={value} ")?;
        }
        f.write_str(&self.program)?;
        self.arguments.iter().try_for_each(|argument| match argument.contains(char::is_whitespace) {
            true => write!(f, " '{argument}'"),
            false => write!(f, " {argument}"),
        })
    }
}

/// Cargo; under rustup it is the toolchain's that runs us, which rustup hands down.
pub fn cargo() -> Shell {
    Shell::new("cargo")
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}
