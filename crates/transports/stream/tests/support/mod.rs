//! What the tests of streams share: either colour, a peer, and what travels.

#![allow(dead_code, reason = "every test uses a part of it")]

pub(crate) mod authority;

use std::{convert::Infallible, future::Future, io, sync::mpsc};

use proxystore_core::{Deadline, Operation, Result};
use proxystore_memory::{Filling, Segment};
use proxystore_runtime::{Colour, Stopped, drive, spawn};
use proxystore_stream::{Address, Listener, Stream, TlsServer};

/// Carries out `future` in either colour.
pub(crate) fn run<T: Send + 'static>(
    colour: Colour,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    match colour {
        Colour::Blocking => {
            let operation = Operation::pending(async { Result::Ok(future.await) });
            match drive(operation, Deadline::never(), || Ok::<_, Infallible>(())) {
                Ok(value) => value,
                Err(Stopped::Failed(error)) => panic!("{error:?}"),
                Err(Stopped::Interrupted(never)) => match never {},
            }
        }
        Colour::Shared => {
            let (answer, answers) = mpsc::channel();
            spawn(async move {
                let _ = answer.send(future.await);
            })
            .expect("a runtime");
            answers.recv().expect("an answer")
        }
    }
}

/// A peer that sends back whatever it receives, until the end, and where it is.
pub(crate) fn echo(tls: Option<TlsServer>, address: Address) -> Address {
    let (bound, is_bound) = mpsc::channel();
    spawn(async move {
        let listener = Listener::bind(&address).await.expect("a free address");
        let _ = bound.send(listener.address().expect("an address"));
        while let Ok(connection) = listener.accept().await {
            let mut stream = Stream::accepted(connection).expect("a stream");
            if let Some(tls) = &tls {
                match stream.secured(tls).await {
                    Ok(secured) => stream = secured,
                    Err(_) => continue,
                }
            }
            let mut buffer = vec![0; 100_000];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                let segments = [Segment::from(&buffer[..read])];
                if stream.write_all(&segments).await.is_err() {
                    break;
                }
            }
        }
    })
    .expect("a runtime");
    is_bound.recv().expect("it listens")
}

pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let pattern = (0..=u8::MAX).chain(3..=u8::MAX).chain(9..100);
    pattern.cycle().take(len).collect()
}

/// Sends `len` bytes and receives them back, both at once, into their final place.
pub(crate) async fn exchange(stream: &Stream, len: usize) -> io::Result<Vec<u8>> {
    let sent = bytes(len);
    let (head, tail) = sent.split_at(len / 3);
    let parts = [Segment::from(head), Segment::EMPTY, Segment::from(tail)];
    let writing = stream.write_all(&parts);
    let reading = async {
        let mut filling = Filling::new(len).expect("memory");
        let mut beside = [0; 8];
        while filling.remaining() > 0 {
            let (here, there) = stream.fill(&mut filling, 50_000, &mut beside).await?;
            if here + there == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filling.push(&beside[..there]);
        }
        Ok(filling.finish().expect("all bytes").to_vec())
    };
    let mut writing = std::pin::pin!(writing);
    let mut reading = std::pin::pin!(reading);
    let mut written = false;
    std::future::poll_fn(|context| {
        use std::task::Poll;
        if !written && let Poll::Ready(outcome) = writing.as_mut().poll(context) {
            outcome?;
            written = true;
        }
        match reading.as_mut().poll(context) {
            Poll::Ready(outcome) if written => Poll::Ready(outcome),
            Poll::Ready(Ok(_)) => Poll::Ready(Err(io::Error::other("more came than was sent"))),
            other => other,
        }
    })
    .await
}

pub(crate) fn in_both(test: fn(Colour)) {
    for colour in Colour::ALL {
        test(colour);
    }
}
