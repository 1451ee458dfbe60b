//! Disks of a test's own, which can be filled, frozen, and cut off from power.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lets a file system forget at once what is not on its disk: `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const POWER_CUT: &str = "
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))
";

/// A small disk, as long as it is held.
pub(crate) struct Disk {
    place: PathBuf,
    /// The file that has its contents, unless it is in memory.
    image: Option<PathBuf>,
}

impl Disk {
    /// A disk in memory; `None` where mounting is not permitted, which is said.
    pub(crate) fn in_memory(place: &Path, megabytes: u32) -> Option<Self> {
        let size = format!("size={megabytes}m");
        let disk = Self { place: place.to_owned(), image: None };
        disk.mount(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "pelago"]))
    }

    /// A disk with ext4; `None` where mounting is not permitted, which is said.
    pub(crate) fn ext4(place: &Path, megabytes: u32) -> Option<Self> {
        let image = place.with_extension("image");
        File::create(&image).unwrap().set_len(u64::from(megabytes) << 20).unwrap();
        let mut format = Command::new("mkfs.ext4");
        if !says(format.args(["-q", "-F"]).arg(&image)) {
            return None;
        }
        std::fs::create_dir_all(place).unwrap();
        let disk = Self { place: place.to_owned(), image: Some(image.clone()) };
        disk.mount(Command::new("mount").args(["-o", "loop"]).arg(image))
    }

    fn mount(self, mount: &mut Command) -> Option<Self> {
        says(mount.arg(&self.place)).then_some(self)
    }

    /// Writes until there is no room for another byte; returns what to delete.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.place.join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        path
    }

    /// Lets everything wait that writes, until what is returned is dropped.
    pub(crate) fn freeze(&self) -> Frozen<'_> {
        assert!(says(Command::new("fsfreeze").arg("--freeze").arg(&self.place)));
        Frozen(self)
    }

    /// Takes away the power; `false` where that is not permitted, which is said.
    pub(crate) fn cut_power(&self) -> bool {
        says(Command::new("python3").args(["-c", POWER_CUT]).arg(&self.place))
    }

    /// Gives the power back: what was on the disk is there. Nobody may use the disk meanwhile.
    pub(crate) fn restore_power(&self) {
        assert!(says(Command::new("umount").arg(&self.place)));
        let image = self.image.as_ref().unwrap();
        assert!(says(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&self.place)));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["--lazy"]).arg(&self.place).output());
    }
}

/// A disk that is frozen.
pub(crate) struct Frozen<'a>(&'a Disk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        drop(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0.place).output());
    }
}

/// Whether a command succeeds; it is said why not.
fn says(command: &mut Command) -> bool {
    match command.output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            println!("skipped: {}", String::from_utf8_lossy(&output.stderr).trim());
            false
        }
        Err(error) => {
            println!("skipped: {command:?}: {error}");
            false
        }
    }
}
