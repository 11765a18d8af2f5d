"""Frames that a client sends in `consilium.room.v1` (docs/protocols/room-signalling.md); sizes are bounded here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from consilium_core.frame_ref import FrameRef
from consilium_live.domain.stroke import MAX_POINTS
from consilium_live.errors import Malformed
from consilium_live.wire.common import Ask

IdText = Annotated[str, Field(min_length=1, max_length=64)]
SdpText = Annotated[str, Field(min_length=1, max_length=131_072)]
# A hundredth of a pixel is finer than any screen shows; what is relayed to everybody stays short.
Pixel = Annotated[float, Field(ge=-8192, le=8192, allow_inf_nan=False), AfterValidator(lambda value: round(value, 2))]
Side = Annotated[int, Field(ge=1, le=16384)]
Mid = Annotated[str, Field(min_length=1, max_length=64)]


class ClientDescription(Ask):
    """Which program speaks and what it decodes."""

    kind: Literal["desktop", "phone"] = "desktop"
    codecs: list[Annotated[str, Field(max_length=16)]] = Field(default_factory=list, max_length=16)


class Hello(Ask):
    """RS-01: always the first frame."""

    type: Literal["hello"]
    token: str = Field(max_length=4096)
    client: ClientDescription = ClientDescription()


class Token(Ask):
    """RS-05: a fresh token of the same subject."""

    type: Literal["token"]
    token: str = Field(max_length=4096)


class Leave(Ask):
    """RS-04."""

    type: Literal["leave"]


class Subscribe(Ask):
    """RS-12: ``tracks`` maps mid to track id."""

    type: Literal["subscribe"]
    id: IdText
    sdp: SdpText
    tracks: dict[Mid, IdText] = Field(max_length=64)


class Publish(Ask):
    """RS-13: ``sources`` maps mid to what it carries; one microphone and one camera at most."""

    type: Literal["publish"]
    id: IdText
    sdp: SdpText
    sources: dict[Mid, Literal["microphone", "camera"]] = Field(max_length=2)

    @model_validator(mode="after")
    def _one_of_each(self) -> Publish:
        if len(set(self.sources.values())) != len(self.sources):
            raise ValueError("one microphone and one camera at most")
        return self


class Unpublish(Ask):
    """RS-13."""

    type: Literal["unpublish"]


class Mute(Ask):
    """RS-13: what is muted now."""

    type: Literal["mute"]
    audio: bool
    video: bool


class IceCandidate(Ask):
    """RTCIceCandidateInit, as browsers serialise it."""

    candidate: str = Field(default="", max_length=512, pattern=r"^[^\r\n]*$")
    sdpMid: Annotated[str, Field(max_length=64, pattern=r"^[^\r\n]*$")] | None = None  # noqa: N815 - the browser's word
    sdpMLineIndex: int | None = None  # noqa: N815
    usernameFragment: Annotated[str, Field(max_length=256, pattern=r"^[^\r\n]*$")] | None = None  # noqa: N815


class Candidate(Ask):
    """RS-14."""

    type: Literal["candidate"]
    connection: Literal["subscribe", "publish"]
    candidate: IceCandidate


class StrokeAsk(Ask):
    """The drawn part of RS-20; ``picture`` is the size of the picture whose pixels ``points`` are."""

    id: IdText
    tool: Literal["pen", "arrow", "ellipse", "text"]
    track_id: IdText
    points: list[tuple[Pixel, Pixel]] = Field(min_length=1, max_length=MAX_POINTS)
    picture: tuple[Side, Side] | None = None
    text: str | None = Field(default=None, max_length=200)
    frame: FrameRef
    pinned: bool = False

    @model_validator(mode="after")
    def _text_has_words(self) -> StrokeAsk:
        if self.tool == "text" and not (self.text or "").strip():
            raise ValueError("a text stroke needs text")
        return self


class DrawStroke(Ask):
    """RS-20."""

    type: Literal["stroke"]
    stroke: StrokeAsk


class StrokeUndo(Ask):
    """RS-22."""

    type: Literal["stroke_undo"]


class StrokeClear(Ask):
    """RS-22."""

    type: Literal["stroke_clear"]
    mine: bool


class Laser(Ask):
    """RS-21: a point, or ``off``."""

    type: Literal["laser"]
    track_id: IdText
    x: Pixel | None = None
    y: Pixel | None = None
    picture: tuple[Side, Side] | None = None
    off: bool = False

    @model_validator(mode="after")
    def _somewhere_or_off(self) -> Laser:
        if not self.off and (self.x is None or self.y is None):
            raise ValueError("x and y are needed unless off")
        return self


class ChatLine(Ask):
    """RS-23."""

    type: Literal["chat"]
    text: str = Field(min_length=1, max_length=2000)

    @model_validator(mode="after")
    def _not_blank(self) -> ChatLine:
        if not self.text.strip():
            raise ValueError("text is blank")
        return self


class Ping(Ask):
    """RS-30."""

    type: Literal["ping"]
    t: float = Field(allow_inf_nan=False)


Spoken = (
    Token | Leave | Subscribe | Publish | Unpublish | Mute | Candidate | DrawStroke | StrokeUndo | StrokeClear
    | Laser | ChatLine | Ping
)  # fmt: skip
ClientMessage = Annotated[
    Hello | Token | Leave | Subscribe | Publish | Unpublish | Mute | Candidate | DrawStroke | StrokeUndo | StrokeClear
    | Laser | ChatLine | Ping,
    Field(discriminator="type"),
]  # fmt: skip
CLIENT_MESSAGE: TypeAdapter[Any] = TypeAdapter(ClientMessage)


def read(text: str) -> Hello | Spoken:
    """Return the message in one text frame, or raise Malformed naming the first thing that does not fit (RS-32)."""
    try:
        message: Hello | Spoken = CLIENT_MESSAGE.validate_json(text)
    except ValidationError as problem:
        first = problem.errors(include_input=False, include_url=False)[0]
        at = ".".join(str(part) for part in first["loc"])
        raise Malformed(f"The message does not fit: {at or 'frame'}: {first['msg']}.") from problem
    return message
