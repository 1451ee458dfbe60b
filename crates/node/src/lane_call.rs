//! What lanes are asked by others: on behalf of a real, or of a session, that is theirs.

use crate::call::CallResult;
use crate::chat_call::{line, put_line};
use crate::documents::avatar::Place;
use crate::documents::lines::Line;
use crate::placement::company::Crowd;
use crate::turn::unavailable;
use bytes::Bytes;
use pelago_game::Refusal;
use pelago_model::{EntityId, Epoch, IslandId, IslandTime, Position};
use pelago_wire::message::{decode_body, encode_body};
use pelago_wire::peer::{self, LiveAnswer, lane_call};

/// A call for somebody on a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneCall {
    /// A live command for a real.
    Live(LiveCommand),
    /// An avatar has a newer session.
    Superseded {
        /// The avatar.
        avatar: EntityId,
        /// Its epoch there.
        epoch: Epoch,
    },
    /// A login begins of an avatar that this node has had: it lets go, and tells where the avatar is.
    Release {
        /// The avatar.
        avatar: EntityId,
        /// Its epoch as the login knows it: a session under a newer one stays.
        epoch: Epoch,
    },
    /// Where there are how many people, as far as this lane sees.
    Crowds,
    /// Something that the session of an avatar is to be told.
    Notify {
        /// The avatar.
        avatar: EntityId,
        /// Its epoch: another session has been told otherwise.
        epoch: Epoch,
        /// The game's (JSON).
        payload: Bytes,
    },
    /// Something was said to an island. A hint: the document of the room tells.
    Lines {
        /// The island.
        island: IslandId,
        /// The last lines, in order.
        lines: Vec<Line>,
    },
    /// Something was whispered to an avatar. A hint: its mailbox tells.
    Mail {
        /// The avatar.
        avatar: EntityId,
    },
}

/// A live command, stamped by the actor's lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveCommand {
    /// To be found in the logs.
    pub trace: u64,
    /// The avatar that acts.
    pub actor: EntityId,
    /// The epoch under which the actor is played.
    pub actor_epoch: Epoch,
    /// Where the actor is.
    pub actor_position: Position,
    /// On whom.
    pub target: EntityId,
    /// The game's.
    pub payload: Bytes,
}

impl LaneCall {
    /// Its form between nodes.
    pub fn encode(self) -> Bytes {
        let body = match self {
            Self::Live(live) => lane_call::Body::Live(peer::LiveCall {
                target: live.target.0,
                actor: live.actor.0,
                actor_epoch: live.actor_epoch.0,
                x: live.actor_position.x,
                y: live.actor_position.y,
                payload: live.payload,
                trace: live.trace,
            }),
            Self::Superseded { avatar, epoch } => {
                lane_call::Body::Superseded(peer::Superseded { avatar: avatar.0, epoch: epoch.0 })
            }
            Self::Release { avatar, epoch } => {
                lane_call::Body::Release(peer::Release { avatar: avatar.0, epoch: epoch.0 })
            }
            Self::Crowds => lane_call::Body::AskCrowds(peer::AskCrowds {}),
            Self::Notify { avatar, epoch, payload } => {
                let (avatar, epoch) = (avatar.0, epoch.0);
                lane_call::Body::Notify(peer::Notify { avatar, epoch, payload })
            }
            Self::Lines { island, lines } => {
                let lines = lines.into_iter().map(put_line).collect();
                lane_call::Body::Lines(peer::Lines { island: island.0, lines })
            }
            Self::Mail { avatar } => lane_call::Body::Mail(peer::Mail { avatar: avatar.0 }),
        };
        encode_body(&peer::LaneCall { body: Some(body) })
    }

    /// Reads what another node sent; `None` if this build does not understand it.
    pub fn decode(body: &Bytes) -> Option<Self> {
        let call = decode_body::<peer::LaneCall>(body).ok()?;
        Some(match call.body? {
            lane_call::Body::Live(live) => Self::Live(LiveCommand {
                trace: live.trace,
                actor: EntityId(live.actor),
                actor_epoch: Epoch(live.actor_epoch),
                actor_position: Position::new(live.x, live.y),
                target: EntityId(live.target),
                payload: live.payload,
            }),
            lane_call::Body::Superseded(superseded) => Self::Superseded {
                avatar: EntityId(superseded.avatar),
                epoch: Epoch(superseded.epoch),
            },
            lane_call::Body::Release(release) => {
                Self::Release { avatar: EntityId(release.avatar), epoch: Epoch(release.epoch) }
            }
            lane_call::Body::AskCrowds(peer::AskCrowds {}) => Self::Crowds,
            lane_call::Body::Notify(notify) => Self::Notify {
                avatar: EntityId(notify.avatar),
                epoch: Epoch(notify.epoch),
                payload: notify.payload,
            },
            lane_call::Body::Lines(lines) => Self::Lines {
                island: IslandId(lines.island),
                lines: lines.lines.into_iter().map(line).collect(),
            },
            lane_call::Body::Mail(mail) => Self::Mail { avatar: EntityId(mail.avatar) },
        })
    }
}

/// What came of a live command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveDone {
    /// What the player is told (JSON).
    pub effects: Bytes,
    /// The gesture of the actor towards the target that everybody in sight is shown.
    pub gesture: Option<u16>,
}

/// The answer to a live command: what came of it, or why nothing happened.
pub fn live_answer(result: Result<LiveDone, Refusal>) -> Bytes {
    let answer = match result {
        Ok(LiveDone { effects, gesture }) => {
            LiveAnswer { effects, gesture: gesture.map(u32::from), ..LiveAnswer::default() }
        }
        Err(refusal) => LiveAnswer {
            code: refusal.code.into_owned(),
            sentence: refusal.sentence.into_owned(),
            ..LiveAnswer::default()
        },
    };
    encode_body(&answer)
}

/// How a call with a live command ended.
///
/// # Errors
/// The refusal of the target's lane, or of the platform: without an answer, nobody knows what became of the command.
pub fn live_result(result: CallResult) -> Result<LiveDone, Refusal> {
    let body = result.map_err(|_| unavailable())?;
    let answer = decode_body::<LiveAnswer>(&body).map_err(|_| Refusal::internal())?;
    if answer.code.is_empty() {
        let gesture = answer.gesture.and_then(|gesture| u16::try_from(gesture).ok());
        return Ok(LiveDone { effects: answer.effects, gesture });
    }
    Err(Refusal { code: answer.code.into(), sentence: answer.sentence.into() })
}

/// The answer of a node that has let go of an avatar: where it is. Without a place the avatar was not played there.
pub fn released_answer(place: Option<Place>) -> Bytes {
    let released = place.map_or_else(peer::Released::default, |place| peer::Released {
        island: place.island.0,
        x: place.position.x,
        y: place.position.y,
        at_ms: place.at.0,
    });
    encode_body(&released)
}

/// The place in such an answer, if there is one.
pub fn released_place(result: &CallResult) -> Option<Place> {
    let released = decode_body::<peer::Released>(result.as_ref().ok()?).ok()?;
    let peer::Released { island, x, y, at_ms } = released;
    let position = Position::new(x, y);
    (island != 0).then_some(Place { island: IslandId(island), position, at: IslandTime(at_ms) })
}

/// The answer of a lane that was asked where people are.
pub fn crowds_answer(crowds: &[Crowd]) -> Bytes {
    let crowd = |crowd: &Crowd| {
        let Crowd { island, somebody, people } = *crowd;
        peer::Crowd { island: island.0, x: somebody.x, y: somebody.y, people }
    };
    encode_body(&peer::Crowds { crowds: crowds.iter().map(crowd).collect() })
}

/// The crowds in such an answer.
pub fn crowds_told(result: &CallResult) -> Vec<Crowd> {
    let told = result.as_ref().ok().and_then(|body| decode_body::<peer::Crowds>(body).ok());
    let crowd = |peer::Crowd { island, x, y, people }| Crowd {
        island: IslandId(island),
        somebody: Position::new(x, y),
        people,
    };
    told.unwrap_or_default().crowds.into_iter().map(crowd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallError;

    #[test]
    fn crowds_are_told_as_they_were_seen() {
        let crowd = Crowd { island: IslandId(5), somebody: Position::new(-3, 4), people: 9 };
        assert_eq!(crowds_told(&Ok(crowds_answer(&[crowd, crowd]))), [crowd, crowd]);
        assert_eq!(crowds_told(&Err(CallError::LinkLost)), []);
    }

    #[test]
    fn the_place_of_an_avatar_is_told_as_it_was() {
        let position = Position::new(-3, 4);
        let place = Place { island: IslandId(5), position, at: IslandTime(9) };
        assert_eq!(released_place(&Ok(released_answer(Some(place)))), Some(place));
        assert_eq!(released_place(&Ok(released_answer(None))), None);
        assert_eq!(released_place(&Err(CallError::LinkLost)), None);
    }

    #[test]
    fn the_end_of_a_live_command_is_told_as_it_was() {
        let refusal = Refusal::new("far", "Too far away.");
        let effects = Bytes::from_static(b"{}");
        let wave = Ok(LiveDone { effects, gesture: Some(0) });
        for result in [wave, Ok(LiveDone::default()), Err(refusal)] {
            assert_eq!(live_result(Ok(live_answer(result.clone()))), result);
        }
        assert_eq!(live_result(Err(CallError::LinkLost)), Err(unavailable()));
        let garbage = Bytes::from_static(&[0xff; 3]);
        assert_eq!(live_result(Ok(garbage)), Err(Refusal::internal()));
    }

    #[test]
    fn calls_to_lanes_are_read_as_they_were_written() {
        let calls = [
            LaneCall::Live(LiveCommand {
                trace: 5,
                actor: EntityId(1),
                actor_epoch: Epoch(7),
                actor_position: Position::new(-3, 4),
                target: EntityId(2),
                payload: Bytes::from_static(b"wave"),
            }),
            LaneCall::Superseded { avatar: EntityId(3), epoch: Epoch(9) },
            LaneCall::Release { avatar: EntityId(3), epoch: Epoch(9) },
            LaneCall::Crowds,
            LaneCall::Notify { avatar: EntityId(3), epoch: Epoch(9), payload: Bytes::new() },
            LaneCall::Mail { avatar: EntityId(3) },
            LaneCall::Lines {
                island: IslandId(5),
                lines: vec![Line {
                    number: 4,
                    avatar: EntityId(3),
                    name: "Åsa".into(),
                    text: "ahoy".into(),
                    at: IslandTime(-1),
                }],
            },
        ];
        for call in calls {
            assert_eq!(LaneCall::decode(&call.clone().encode()), Some(call));
        }
        assert_eq!(LaneCall::decode(&Bytes::from_static(&[0xff; 3])), None);
    }
}
