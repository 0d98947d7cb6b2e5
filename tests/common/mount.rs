//! A small file system in memory, which a test can fill.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// A mounted tmpfs; unmounted when dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts a tmpfs of this size over a directory, with the directory's owner and mode.
    pub fn over(directory: &Path, size: &str) -> Self {
        use std::os::unix::fs::MetadataExt;
        let meta = directory.metadata().unwrap();
        let options = format!(
            "size={size},uid={},gid={},mode={:o}",
            meta.uid(),
            meta.gid(),
            meta.mode() & 0o7777
        );
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(directory)
            .output()
            .expect("mount runs");
        assert!(
            output.status.success(),
            "this test must mount a tmpfs; run it as root, in a container with CAP_SYS_ADMIN: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self(directory.to_owned())
    }

    /// Fills the file system to the last byte.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        let mut piece = 64 * 1024;
        while piece > 0 {
            if file.write_all(&vec![b'x'; piece]).is_err() {
                piece /= 16;
            }
        }
    }

    /// Frees the space again.
    pub fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, because processes may still use it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
