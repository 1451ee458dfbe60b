//! A disk of the world's own: ext4 in a file, which can be frozen, filled, and cut off from its power.

use crate::processes::run;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of the disk. The store reserves 64 MiB for its journal.
const SIZE_BYTES: u64 = 320 << 20;
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: from now on nothing is written, not even the journal.
const CUT: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// A mounted disk. It is unmounted when it is dropped.
pub(crate) struct Disk {
    image: PathBuf,
    mounted_at: PathBuf,
}

impl Disk {
    /// Makes one in a folder and mounts it there. Needs the rights to mount.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let disk = Self { image: folder.join("disk.img"), mounted_at: folder.join("disk") };
        File::create(&disk.image)?.set_len(SIZE_BYTES)?;
        std::fs::create_dir(&disk.mounted_at)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk.image))?;
        disk.mount().context("mounting a disk: torture needs to be root")?;
        Ok(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mounted_at
    }

    fn mount(&self) -> Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mounted_at))?;
        Ok(())
    }

    /// Cuts off its power: what was not synced is gone. Nothing works until [`Self::power_on`].
    pub(crate) fn cut_power(&self) -> Result<()> {
        run(Command::new("python3").args(["-c", CUT]).arg(&self.mounted_at))?;
        Ok(())
    }

    /// Mounts it again. No process may use it.
    pub(crate) fn power_on(&self) -> Result<()> {
        run(Command::new("umount").arg(&self.mounted_at))?;
        self.mount()
    }

    /// From now on writes do not return.
    pub(crate) fn freeze(&self) -> Result<()> {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.mounted_at))?;
        Ok(())
    }

    pub(crate) fn thaw(&self) -> Result<()> {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.mounted_at))?;
        Ok(())
    }

    /// Takes all room that is left.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filler())?;
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        Ok(())
    }

    /// Gives back the room that [`Self::fill`] took.
    pub(crate) fn empty(&self) -> Result<()> {
        std::fs::remove_file(self.filler()).context("emptying the disk")
    }

    fn filler(&self) -> PathBuf {
        self.mounted_at.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A frozen one could not be unmounted.
        drop(Command::new("fsfreeze").arg("--unfreeze").arg(&self.mounted_at).output());
        drop(Command::new("umount").arg("--lazy").arg(&self.mounted_at).output());
    }
}
