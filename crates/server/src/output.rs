//! Output that never ends and never stops anything: whoever reads it may have gone, may not read any more, or may have no
//! room left on its disk.
//!
//! Log lines wait in a queue with a limit for a thread of their own. What finds no room in it, or cannot be written, is
//! lost and counted; the next line that can be written says how many there were.

use anyhow::{Context as _, Result};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written; one more is lost.
const MAX_WAITING: usize = 4096;
/// How long the end of the program waits for lines that are still to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Panics that are written; of more, only what their commands' lines say.
const MAX_PANICS: u64 = 1000;
/// Characters of a panic's words that are written.
const MAX_PANIC_WORDS: usize = 300;
/// Panics so far.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// The way to standard error. There is one of a process.
static STDERR: OnceLock<Lines> = OnceLock::new();

/// The way to standard output, for what is announced while something runs.
static STDOUT: OnceLock<Lines> = OnceLock::new();

/// A way to write lines, that takes no time.
#[derive(Clone)]
pub(crate) struct Lines {
    waiting: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Text(Vec<u8>),
    /// To be answered once everything before it is written, or lost.
    Flush(SyncSender<()>),
}

/// Standard error.
pub(crate) fn stderr() -> Lines {
    STDERR.get_or_init(|| Lines::to(io::stderr())).clone()
}

/// Writes a line about a panic, which takes no time either: whoever panics may be about to end the process, and a rule
/// that panics is caught and told of with its command. With `RUST_BACKTRACE` it has its backtrace.
pub(crate) fn panicked(panic: &PanicHookInfo<'_>) {
    if PANICS.fetch_add(1, Relaxed) >= MAX_PANICS {
        return;
    }
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let words = panic.payload_as_str().unwrap_or("without a word");
    let words: String = words.chars().take(MAX_PANIC_WORDS).collect();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let mut text = format!("thread {name} panicked at {place}: {words}\n");
    if backtrace.status() == BacktraceStatus::Captured {
        text += &format!("{backtrace}\n");
    }
    stderr().write(text);
}

/// Prints a line on standard output, if anybody is there to read it. Whatever runs goes on meanwhile, also if somebody is
/// there and does not read.
pub(crate) fn announce(text: impl Display) {
    STDOUT.get_or_init(|| Lines::to(io::stdout())).write(format!("{text}\n"));
}

/// Waits until everything is written, for a second or two at most.
pub(crate) fn flush() {
    if let Some(lines) = STDOUT.get() {
        lines.flush();
    }
    stderr().flush();
}

/// Prints what a command was asked for on standard output. A reader that has gone has read enough.
///
/// # Errors
/// If it cannot be written, such as on a full disk: all else that the command does has been done.
pub(crate) fn print(text: impl Display) -> Result<()> {
    match write_line(&text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("standard output")
        }
        _ => Ok(()),
    }
}

fn write_line(text: &impl Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{text}")?;
    output.flush()
}

impl Lines {
    fn to(output: impl Write + Send + 'static) -> Self {
        let (waiting, lines) = sync_channel(MAX_WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        let write = move || write_all(output, &lines, &counted);
        // Without the thread every line is lost, which is counted.
        drop(thread::Builder::new().name("output".to_owned()).spawn(write));
        Self { waiting, lost }
    }

    /// Writes a text soon, if there is room for it.
    pub(crate) fn write(&self, text: impl Into<Vec<u8>>) {
        if self.waiting.try_send(Message::Text(text.into())).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Waits until everything is written, for a second at most.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        let began = std::time::Instant::now();
        while began.elapsed() < LAST_LINES {
            match self.waiting.try_send(message) {
                Ok(()) => {
                    let left = LAST_LINES.saturating_sub(began.elapsed());
                    return written.recv_timeout(left).unwrap_or_default();
                }
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return,
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn write_all(mut output: impl Write, lines: &Receiver<Message>, lost: &AtomicU64) {
    for message in lines {
        let text = match message {
            Message::Text(text) => text,
            Message::Flush(done) => {
                // Nobody may wait for it any more.
                done.try_send(()).unwrap_or_default();
                continue;
            }
        };
        let before = lost.load(Relaxed);
        if before > 0 {
            let note = format!("{before} lines of this log could not be written\n");
            if output.write_all(note.as_bytes()).is_err() {
                lost.fetch_add(1, Relaxed);
                continue;
            }
            lost.fetch_sub(before, Relaxed);
        }
        if output.write_all(&text).and_then(|()| output.flush()).is_err() {
            lost.fetch_add(1, Relaxed);
        }
    }
}

/// One line of the log, which leaves as a whole.
pub(crate) struct Line {
    to: Lines,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.to.write(std::mem::take(&mut self.text));
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { to: self.clone(), text: Vec::new() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    /// An output that fails, or that takes for ever, while it is told to.
    #[derive(Clone, Default)]
    struct Output {
        written: Arc<Mutex<Vec<u8>>>,
        fails: Arc<AtomicBool>,
        stuck: Arc<AtomicBool>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            while self.stuck.load(Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            if self.fails.load(Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output {
        fn text(&self) -> String {
            String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_stop_nobody() {
        let output = Output::default();
        let lines = Lines::to(output.clone());
        lines.write("first\n");
        lines.flush();
        output.fails.store(true, Relaxed);
        lines.write("second\n");
        lines.write("third\n");
        lines.flush();
        output.fails.store(false, Relaxed);
        lines.write("fourth\n");
        lines.flush();
        let expected = "first\n2 lines of this log could not be written\nfourth\n";
        assert_eq!(output.text(), expected);
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up() {
        let output = Output::default();
        output.stuck.store(true, Relaxed);
        let lines = Lines::to(output.clone());
        (0..3 * MAX_WAITING).for_each(|_| lines.write("line\n"));
        assert!(lines.lost.load(Relaxed) >= MAX_WAITING as u64);
        lines.flush();
        output.stuck.store(false, Relaxed);
        lines.flush();
        lines.write("last\n");
        lines.flush();
        assert!(
            output.text().contains("could not be written") && output.text().ends_with("last\n")
        );
    }
}
