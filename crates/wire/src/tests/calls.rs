//! Calls between nodes and their answers, and the bodies that travel in them.

use super::strategies::{blobs, texts};
use crate::Malformed;
use crate::message::{decode_body, encode_body};
use crate::peer::{self, answer, lane_call, steward_call};
use bytes::Bytes;
use proptest::prelude::*;

pub(super) fn calls() -> impl Strategy<Value = peer::Call> {
    let body = prop_oneof![
        steward_calls().prop_map(|call| encode_body(&call)),
        lane_calls().prop_map(|call| encode_body(&call)),
        // To the platform it is nothing but bytes.
        blobs(),
    ];
    let named = ("[a-z-]{1,24}", texts());
    (any::<[u64; 2]>(), any::<u32>(), any::<bool>(), named, body).prop_map(
        |([number, trace], deadline_ms, repeatable, (role, key), body)| peer::Call {
            number,
            deadline_ms,
            repeatable,
            trace,
            role,
            key,
            body,
        },
    )
}

pub(super) fn answers() -> impl Strategy<Value = peer::Answer> {
    let body = prop_oneof![
        durable_answers().prop_map(|answer| encode_body(&answer)),
        live_answers().prop_map(|answer| encode_body(&answer)),
        blobs(),
    ];
    let answer = prop_oneof![
        body.prop_map(answer::Answer::Body),
        texts().prop_map(|code| answer::Answer::Rejected(peer::Rejected { code })),
    ];
    (any::<u64>(), prop::option::of(answer))
        .prop_map(|(number, answer)| peer::Answer { number, answer })
}

fn steward_calls() -> impl Strategy<Value = peer::StewardCall> {
    let durable = (texts(), any::<[u64; 4]>(), blobs(), any::<[i32; 2]>(), any::<i64>()).prop_map(
        |(key, [avatar, epoch, sequence, island], payload, [x, y], received_ms)| {
            steward_call::Body::Durable(peer::DurableCall {
                key,
                avatar,
                epoch,
                sequence,
                payload,
                island,
                x,
                y,
                received_ms,
            })
        },
    );
    let grant = (texts(), any::<u64>(), [texts(), texts()], any::<i64>()).prop_map(
        |(key, avatar, [what, reason], received_ms)| {
            let grant = peer::GrantCall { key, avatar, what, reason, received_ms };
            steward_call::Body::Grant(grant)
        },
    );
    prop::option::of(prop_oneof![durable, grant]).prop_map(|body| peer::StewardCall { body })
}

fn lane_calls() -> impl Strategy<Value = peer::LaneCall> {
    let live = (any::<[u64; 4]>(), any::<[i32; 2]>(), blobs()).prop_map(
        |([target, actor, actor_epoch, trace], [x, y], payload)| {
            let call = peer::LiveCall { target, actor, actor_epoch, x, y, payload, trace };
            lane_call::Body::Live(call)
        },
    );
    let release = any::<[u64; 2]>()
        .prop_map(|[avatar, epoch]| lane_call::Body::Release(peer::Release { avatar, epoch }));
    let superseded = any::<[u64; 2]>().prop_map(|[avatar, epoch]| {
        lane_call::Body::Superseded(peer::Superseded { avatar, epoch })
    });
    let notify = (any::<[u64; 2]>(), blobs()).prop_map(|([avatar, epoch], payload)| {
        lane_call::Body::Notify(peer::Notify { avatar, epoch, payload })
    });
    prop::option::of(prop_oneof![live, superseded, notify, release])
        .prop_map(|body| peer::LaneCall { body })
}

fn durable_answers() -> impl Strategy<Value = peer::DurableAnswer> {
    ([texts(), texts()], [blobs(), blobs()]).prop_map(|([code, sentence], [effects, chain])| {
        peer::DurableAnswer { code, sentence, effects, chain }
    })
}

fn live_answers() -> impl Strategy<Value = peer::LiveAnswer> {
    let gestures = prop::option::of(any::<u32>());
    ([texts(), texts()], blobs(), gestures).prop_map(|([code, sentence], effects, gesture)| {
        peer::LiveAnswer { code, sentence, effects, gesture }
    })
}

#[test]
fn bytes_that_are_no_body_are_malformed() {
    // A length beyond the end, a wrong wire type.
    for hex in ["0a05", "0800"] {
        let body = super::bytes(hex);
        assert_eq!(decode_body::<peer::StewardCall>(&body), Err(Malformed::Control), "{hex}");
        assert_eq!(decode_body::<peer::LaneCall>(&body), Err(Malformed::Control), "{hex}");
    }
}

#[test]
fn a_call_of_a_later_version_has_no_body() {
    let read = decode_body::<peer::StewardCall>(&Bytes::from_static(&[0xfa, 0x07, 0]));
    assert_eq!(read, Ok(peer::StewardCall { body: None }));
}

proptest! {
    #[test]
    fn bodies_of_calls_survive(steward in steward_calls(), lane in lane_calls()) {
        prop_assert_eq!(decode_body(&encode_body(&steward)), Ok(steward));
        prop_assert_eq!(decode_body(&encode_body(&lane)), Ok(lane));
    }

    #[test]
    fn bodies_of_answers_survive(durable in durable_answers(), live in live_answers()) {
        prop_assert_eq!(decode_body(&encode_body(&durable)), Ok(durable));
        prop_assert_eq!(decode_body(&encode_body(&live)), Ok(live));
    }
}
