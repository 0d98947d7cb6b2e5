//! A TCP relay between two loopback ports that can be interrupted.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::sleep;
use std::time::Duration;

use super::exim::free_port;

/// The interval at which the threads read the state.
const INTERVAL: Duration = Duration::from_millis(5);

/// The values of the state.
const PASSES: u8 = 0;
const HANGS: u8 = 1;
const IS_CUT: u8 = 2;
const HAS_ENDED: u8 = 3;

/// A running relay; stopped when dropped.
pub struct Relay {
    pub port: u16,
    state: Arc<AtomicU8>,
}

impl Relay {
    /// Starts a relay to this port.
    pub fn to(target: u16) -> Self {
        let (port, state) = (free_port(), Arc::new(AtomicU8::new(PASSES)));
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let shared = Arc::clone(&state);
        thread::spawn(move || serve(listener, port, target, &shared));
        Self { port, state }
    }

    /// Accepts connections, but passes no byte on.
    pub fn hang(&self) {
        self.state.store(HANGS, Ordering::SeqCst);
    }

    /// Closes all connections, at whatever byte they are, and refuses new ones.
    pub fn cut(&self) {
        self.state.store(IS_CUT, Ordering::SeqCst);
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            sleep(INTERVAL);
        }
    }

    /// Passes connections on again.
    pub fn restore(&self) {
        self.state.store(PASSES, Ordering::SeqCst);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            sleep(INTERVAL);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.store(HAS_ENDED, Ordering::SeqCst);
    }
}

fn serve(listener: TcpListener, port: u16, target: u16, state: &Arc<AtomicU8>) {
    listener.set_nonblocking(true).unwrap();
    let mut listener = Some(listener);
    loop {
        match state.load(Ordering::SeqCst) {
            HAS_ENDED => return,
            IS_CUT => listener = None,
            _ if listener.is_none() => {
                let again = TcpListener::bind(("127.0.0.1", port)).unwrap();
                again.set_nonblocking(true).unwrap();
                listener = Some(again);
            }
            _ => {}
        }
        match listener.as_ref().map(TcpListener::accept) {
            Some(Ok((client, _))) => {
                let state = Arc::clone(state);
                thread::spawn(move || pass(&client, target, &state));
            }
            Some(Err(_)) | None => sleep(INTERVAL),
        }
    }
}

fn pass(client: &TcpStream, target: u16, state: &AtomicU8) {
    while state.load(Ordering::SeqCst) == HANGS {
        sleep(INTERVAL);
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { return };
    for stream in [client, &server] {
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(INTERVAL)).unwrap();
    }
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &server, state));
        copy(&server, client, state);
    });
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, state: &AtomicU8) {
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer);
        while state.load(Ordering::SeqCst) == HANGS {
            sleep(INTERVAL);
        }
        let passes = state.load(Ordering::SeqCst) == PASSES;
        match read {
            Ok(read) if read > 0 && passes && to.write_all(&buffer[..read]).is_ok() => {}
            Err(e) if passes && matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            }
            _ => {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}
