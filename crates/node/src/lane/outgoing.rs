//! What clients are told beside frames: control messages, refusals, the last message.

use super::{Lane, LaneEffect};
use bytes::{Bytes, BytesMut};
use pelago_game::Refusal;
use pelago_model::Limit;
use pelago_wire::client::{self, ServerMessage, server_message};
use pelago_wire::message::put_control;
use pelago_world::ClientId;

impl Lane {
    /// Sends a control message. A client that is blocked gets it later, or is closed as too slow if too much waits.
    pub(super) fn send(
        &mut self,
        client: ClientId,
        body: server_message::Body,
        effects: &mut Vec<LaneEffect>,
    ) {
        let mut bytes = BytesMut::new();
        put_control(&mut bytes, &ServerMessage { body: Some(body) });
        self.send_bytes(client, bytes.freeze(), effects);
    }

    /// Sends a control message that is written already.
    pub(super) fn send_bytes(
        &mut self,
        client: ClientId,
        bytes: Bytes,
        effects: &mut Vec<LaneEffect>,
    ) {
        match self.delivery.control(client, bytes) {
            Ok(Some(bytes)) => effects.push(LaneEffect::Send { client, bytes }),
            Ok(None) => {}
            Err(_) => {
                self.counters.limits.note(Limit::WaitingControl);
                self.close_slow(client, effects);
            }
        }
    }

    /// Refuses a command: the durable one with this sequence, or the live one with this number.
    pub(super) fn refuse(
        &mut self,
        client: ClientId,
        durable: bool,
        number: u64,
        refusal: Refusal,
        effects: &mut Vec<LaneEffect>,
    ) {
        self.counters.refused += 1;
        let outcome = client::Outcome {
            sequence: if durable { number } else { 0 },
            number: if durable { 0 } else { number },
            code: refusal.code.into_owned(),
            sentence: refusal.sentence.into_owned(),
            trace: self.next_call,
            ..client::Outcome::default()
        };
        self.send(client, server_message::Body::Outcome(outcome), effects);
    }

    /// Ends a connection from our side, and the session that is played through it.
    pub(super) fn close(
        &mut self,
        client: ClientId,
        code: &str,
        sentence: &str,
        effects: &mut Vec<LaneEffect>,
    ) {
        let closing = client::Closing { code: code.into(), sentence: sentence.into() };
        let body = Some(server_message::Body::Closing(closing));
        let mut bytes = BytesMut::new();
        put_control(&mut bytes, &ServerMessage { body });
        let bytes = self.delivery.farewell(client, bytes.freeze());
        effects.push(LaneEffect::Send { client, bytes });
        self.remove(client, effects);
        effects.push(LaneEffect::Close { client });
    }

    pub(super) fn close_slow(&mut self, client: ClientId, effects: &mut Vec<LaneEffect>) {
        self.close(client, "slow", "Your connection is too slow.", effects);
    }

    /// The avatar is played from elsewhere.
    pub(super) fn supersede(&mut self, client: ClientId, effects: &mut Vec<LaneEffect>) {
        self.counters.superseded += 1;
        self.close(client, "superseded", "You are playing from somewhere else.", effects);
    }
}
