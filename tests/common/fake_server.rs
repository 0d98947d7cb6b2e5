//! A server that speaks MariaDB's protocol until the login, and then breaks it.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

/// The behaviour of the server at the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// It sends a packet with the single byte 0x01.
    OneByte,
    /// It sends an empty packet.
    Empty,
    /// It sends an RSA key that is not in PEM.
    NoPem,
    /// It asks for the plugin `parsec`.
    Parsec,
    /// It closes the connection while the client sends the login, so that the client then uses a
    /// closed socket.
    HangsUp,
}

/// The behaviours at which the driver panics.
pub const PANICS: [Oddity; 4] = [Oddity::OneByte, Oddity::Empty, Oddity::NoPem, Oddity::Parsec];

pub struct FakeServer {
    pub port: u16,
    clients: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// Serves on a free loopback port until it is dropped.
    pub fn start(oddity: Oddity) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::serve(port, oddity, move || {
            let (stream, _) = listener.accept()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(stream)
        })
    }

    /// Serves on a unix socket until it is dropped.
    pub fn start_at(path: &Path, oddity: Oddity) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::serve(0, oddity, move || {
            let (stream, _) = listener.accept()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(stream)
        })
    }

    fn serve<S: Read + Write + Send + 'static>(
        port: u16,
        oddity: Oddity,
        mut accept: impl FnMut() -> std::io::Result<S> + Send + 'static,
    ) -> Self {
        let (clients, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ends) = (Arc::clone(&clients), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                match accept() {
                    Ok(mut stream) => {
                        count.fetch_add(1, Ordering::Relaxed);
                        // A client may close the connection first.
                        let _ = log_in(&mut stream, oddity);
                    }
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Self { port, clients, is_over, thread: Some(thread) }
    }

    /// The number of clients that have connected.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    pub fn url(&self, database: &str) -> String {
        format!("mysql://exim:hunter2@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn log_in(stream: &mut (impl Read + Write), oddity: Oddity) -> std::io::Result<()> {
    send(stream, 0, &handshake())?;
    if oddity == Oddity::HangsUp {
        return Ok(());
    }
    let number = receive(stream)?;
    match oddity {
        Oddity::OneByte => send(stream, number, &[1])?,
        Oddity::Empty => send(stream, number, &[])?,
        Oddity::Parsec => {
            let request = [&b"\xfeparsec\0"[..], &[7; 32], b"\0"].concat();
            send(stream, number, &request)?;
            // The client asks for the parameters: an algorithm, its cost and a salt.
            let number = receive(stream)?;
            send(stream, number, &[&b"\x01P\0"[..], &[7; 18]].concat())?;
        }
        Oddity::NoPem => {
            // Request full authentication: the client asks for the key.
            send(stream, number, &[1, 4])?;
            let number = receive(stream)?;
            send(stream, number, b"\x01this is no PEM")?;
        }
        Oddity::HangsUp => {}
    }
    // Wait until the client closes the connection.
    let _ = stream.read(&mut [0; 64]);
    Ok(())
}

fn send(stream: &mut impl Write, number: u8, payload: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let packet = [&length[..3], &[number], payload].concat();
    stream.write_all(&packet)
}

/// Reads a packet; returns the number of the next one.
fn receive(stream: &mut impl Read) -> std::io::Result<u8> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload)?;
    Ok(head[3].wrapping_add(1))
}

/// The server's first packet, of protocol version 10.
fn handshake() -> Vec<u8> {
    // Lower bits: LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION.
    // Upper bits: MULTI_STATEMENTS, MULTI_RESULTS, PLUGIN_AUTH.
    let (lower, upper) = (0xa209_u16, 0x000b_u16);
    let mut packet = b"\x0a8.0.36\0".to_vec();
    packet.extend_from_slice(&[1, 0, 0, 0]);
    packet.extend_from_slice(b"abcdefgh\0");
    packet.extend_from_slice(&lower.to_le_bytes());
    packet.push(45);
    packet.extend_from_slice(&[2, 0]);
    packet.extend_from_slice(&upper.to_le_bytes());
    packet.push(21);
    packet.extend_from_slice(&[0; 10]);
    packet.extend_from_slice(b"ijklmnopqrst\0caching_sha2_password\0");
    packet
}
