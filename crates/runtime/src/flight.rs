//! Flight recordings as files: written when a machine panics, and when an operator asks.

use crate::clock::unix_ms;
use pelago_model::NodeId;
use pelago_node::recorder::{RecorderLimits, SharedRecorder};
use pelago_node::{MachineId, NodeConfig, Recorder};
use pelago_store::files;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Files in a directory of recordings; for one more, those that were changed longest ago are deleted.
const MAX_FLIGHT_FILES: usize = 256;
/// How the name of a recording ends.
const EXTENSION: &str = "pelago-flight";

/// The recorders of a node's machines.
pub(crate) struct Flight {
    node: NodeId,
    /// Where recordings are written; without it nothing is recorded.
    directory: Option<PathBuf>,
    recorders: BTreeMap<MachineId, SharedRecorder>,
}

/// A recording that was written.
pub(crate) struct Written {
    pub(crate) machine: MachineId,
    pub(crate) file: PathBuf,
    pub(crate) bytes: usize,
    pub(crate) inputs: u64,
    pub(crate) whole: bool,
}

impl Flight {
    /// Recorders for all machines of a node, if there is a directory for what they hold.
    pub(crate) fn new(config: &NodeConfig, directory: Option<PathBuf>) -> Self {
        let recorder = |machine| {
            let header = config.flight_header(machine);
            let recorder = Recorder::new(header, RecorderLimits::default());
            (machine, Arc::new(Mutex::new(recorder)))
        };
        let recorders = match directory {
            Some(_) => config.machines().map(recorder).collect(),
            None => BTreeMap::new(),
        };
        Self { node: config.node, directory, recorders }
    }

    /// The recorder of a machine.
    pub(crate) fn recorder(&self, machine: MachineId) -> Option<SharedRecorder> {
        self.recorders.get(&machine).cloned()
    }

    /// Writes down what all machines were told last. Blocks.
    ///
    /// # Errors
    /// The first problem, in words; what was written before it stays.
    pub(crate) fn write_all(&self) -> Result<Vec<Written>, String> {
        if self.directory.is_none() {
            return Err("the node has no directory for recordings".to_owned());
        }
        let written = self.recorders.keys().map(|machine| self.write(*machine));
        written
            .filter_map(Result::transpose)
            .collect::<io::Result<_>>()
            .map_err(|error| error.to_string())
    }

    fn write(&self, machine: MachineId) -> io::Result<Option<Written>> {
        let Some((directory, recorder)) = self.directory.as_ref().zip(self.recorders.get(&machine))
        else {
            return Ok(None);
        };
        // The machine waits for as long as its inputs are copied, and not until they are on the disk.
        let (contents, inputs, whole) = {
            let recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            (recorder.to_file(), recorder.inputs(), recorder.is_whole())
        };
        files::create_directory(directory)?;
        let name = format!("{}-{machine}-{}.{EXTENSION}", self.node, unix_ms());
        let file = directory.join(name);
        files::replace(&file, &contents)?;
        delete_oldest(directory)?;
        Ok(Some(Written { machine, file, bytes: contents.len(), inputs, whole }))
    }
}

/// Deletes what is too much in a directory. Of what another node deletes at the same time nothing is said.
fn delete_oldest(directory: &Path) -> io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_recording)
            && let Ok(changed) = entry.metadata().and_then(|metadata| metadata.modified())
        {
            files.push((changed, path));
        }
    }
    files.sort();
    let too_many = files.len().saturating_sub(MAX_FLIGHT_FILES);
    files.iter().take(too_many).for_each(|(_, path)| drop(fs::remove_file(path)));
    Ok(())
}

/// Whether a file is a recording, or what a process that died has left of making one.
fn is_recording(name: &str) -> bool {
    Path::new(name.strip_suffix(".new").unwrap_or(name))
        .extension()
        .is_some_and(|extension| extension == EXTENSION)
}

/// Held by the task of a machine: if that task panics, what the machine was told last is written down.
pub(crate) struct WritesOnPanic {
    pub(crate) flight: Arc<Flight>,
    pub(crate) machine: MachineId,
}

impl Drop for WritesOnPanic {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let (node, machine) = (self.flight.node.0, self.machine);
        match self.flight.write(machine) {
            Ok(Some(Written { file, inputs, .. })) => {
                let file = file.display();
                tracing::error!(node, %machine, inputs, %file, "a machine has panicked: recorded");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(node, %machine, %error, "a machine has panicked: not recorded");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::Duration;

    #[test]
    fn the_oldest_recordings_go_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: String| directory.path().join(name);
        File::create(path("notes.txt".into())).unwrap();
        for number in 0..MAX_FLIGHT_FILES + 3 {
            let ending = if number == 0 { ".new" } else { "" };
            let file = File::create(path(format!("{number}.{EXTENSION}{ending}"))).unwrap();
            let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64);
            file.set_modified(changed).unwrap();
        }
        delete_oldest(directory.path()).unwrap();
        assert!(path("notes.txt".into()).exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), MAX_FLIGHT_FILES + 1);
        assert!(!path(format!("0.{EXTENSION}.new")).exists());
        assert!(!path(format!("2.{EXTENSION}")).exists());
        assert!(path(format!("3.{EXTENSION}")).exists());
    }
}
