//! A way to a server that can be broken: TCP connections of a loopback port, passed on to another.

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

/// How often the threads look whether things have changed.
const NAP: Duration = Duration::from_millis(5);

const PASSES: u8 = 0;
const HANGS: u8 = 1;
const DEAD: u8 = 2;
const OVER: u8 = 3;

pub struct Way {
    pub port: u16,
    state: Arc<AtomicU8>,
}

impl Way {
    /// Passes connections on to this port.
    pub fn to(target: u16) -> Self {
        let (port, state) = (free_port(), Arc::new(AtomicU8::new(PASSES)));
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let shared = Arc::clone(&state);
        thread::spawn(move || serve(listener, port, target, &shared));
        Self { port, state }
    }

    /// Connections are accepted, and no byte gets through.
    pub fn hang(&self) {
        self.state.store(HANGS, Ordering::SeqCst);
    }

    /// Connections are cut at whatever byte they are, and new ones refused.
    pub fn cut(&self) {
        self.state.store(DEAD, Ordering::SeqCst);
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            sleep(NAP);
        }
    }

    /// All is well again.
    pub fn mend(&self) {
        self.state.store(PASSES, Ordering::SeqCst);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            sleep(NAP);
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.state.store(OVER, Ordering::SeqCst);
    }
}

fn serve(listener: TcpListener, port: u16, target: u16, state: &Arc<AtomicU8>) {
    listener.set_nonblocking(true).unwrap();
    let mut listener = Some(listener);
    loop {
        match state.load(Ordering::SeqCst) {
            OVER => return,
            DEAD => listener = None,
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
            Some(Err(_)) | None => sleep(NAP),
        }
    }
}

fn pass(client: &TcpStream, target: u16, state: &AtomicU8) {
    while state.load(Ordering::SeqCst) == HANGS {
        sleep(NAP);
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { return };
    for stream in [client, &server] {
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(NAP)).unwrap();
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
            sleep(NAP);
        }
        let is_over = state.load(Ordering::SeqCst) != PASSES;
        match read {
            Ok(read) if read > 0 && !is_over && to.write_all(&buffer[..read]).is_ok() => {}
            Err(e)
                if !is_over && matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}
