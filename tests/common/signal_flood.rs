//! Many signals to one process of Exim.

use std::process::Child;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::Exim;
use super::process::children;

/// Sends SIGUSR1 to one process every two milliseconds, until dropped.
pub struct SignalFlood(Child);

impl SignalFlood {
    /// Sends the signals to the process that serves the daemon's only connection.
    pub fn start(exim: &Exim) -> Self {
        let mut serving = children(exim.pid());
        // The connection that tested whether the daemon listens may still be open.
        for _ in 0..3000 {
            if serving.len() == 1 {
                break;
            }
            thread::sleep(Duration::from_millis(10));
            serving = children(exim.pid());
        }
        assert_eq!(serving.len(), 1, "one connection");
        let script = "while (kill 'USR1', $ARGV[0]) { select undef, undef, undef, 0.002 }";
        let child = Command::new("perl").args(["-e", script, &serving[0].to_string()]).spawn();
        Self(child.expect("perl"))
    }
}

impl Drop for SignalFlood {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
