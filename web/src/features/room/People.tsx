/** Who is in the room: role on each tile, who speaks, who is muted, cameras; and one's own microphone. */
import { useEffect, useRef, useState } from 'react';
import { Button, Icon } from '@/kit';
import { t } from '@/lib/i18n/app';
import { may } from '@/lib/roles';
import type { Participant } from '@/lib/rtc/messages';
import { Glyph } from './Glyph';
import type { RoomSession } from './session';
import { GLYPHS } from './tools';
import { r } from './words';

/** A video element fed by one track. */
function Camera({ track, mirrored }: { track: MediaStreamTrack; mirrored?: boolean }) {
  const ref = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    if (ref.current) ref.current.srcObject = new MediaStream([track]);
  }, [track]);
  return <video ref={ref} className="camera" muted playsInline autoPlay data-mirrored={mirrored} />;
}

export function People({ session }: { session: RoomSession }) {
  const people = session.people.value;
  const me = session.self.value;
  return (
    <section className="side-part" aria-labelledby="people-title">
      <h2 id="people-title" className="side-title">
        {r('people')} <span className="count num">{people.length}</span>
      </h2>
      <ul className="people" data-testid="people" data-count={people.length}>
        {people.map((person) => (
          <Tile key={person.id} session={session} person={person} isMe={person.id === me?.id} />
        ))}
      </ul>
      {may('room.speak') ? <OwnDevices session={session} /> : <p className="faint small">{r('no_speak')}</p>}
    </section>
  );
}

function Tile({ session, person, isMe }: { session: RoomSession; person: Participant; isMe: boolean }) {
  const speaking = session.speaking.value.has(person.id);
  const cameraTrack = session.tracks.value.find(
    (track) => track.source === 'camera' && track.participant_id === person.id,
  );
  const remote = cameraTrack ? session.receivers.value.get(cameraTrack.id)?.track : undefined;
  const camera = isMe ? session.camera.value : person.video ? remote : undefined;
  return (
    <li className="tile" data-speaking={speaking || undefined} data-person={person.user_id} data-audio={person.audio}>
      {camera ? (
        <Camera track={camera} mirrored={isMe} />
      ) : (
        <span className="tile-color" style={{ background: person.color }}>
          {[...person.name][0]?.toUpperCase()}
        </span>
      )}
      <span className="grow">
        <span className="tile-name clip">{isMe ? r('person_you', { name: person.name }) : person.name}</span>
        <span className="tile-role">
          <i style={{ background: person.color }} />
          {t(`role.${person.role}`)}
          {speaking && <b> · {r('speaking')}</b>}
        </span>
      </span>
      <span className="tile-mic" title={person.audio ? r('mic_on') : r('mic_off')} data-on={person.audio || undefined}>
        <Glyph path={person.audio ? GLYPHS.mic : GLYPHS.micOff} />
        <span className="sr-only">{person.audio ? r('mic_on') : r('mic_off')}</span>
      </span>
    </li>
  );
}

function OwnDevices({ session }: { session: RoomSession }) {
  const on = session.microphone.value;
  const camera = session.camera.value !== null;
  const busy = session.busy.value;
  const fault = session.fault.value;
  return (
    <>
      <div className="devices">
        <Button
          variant={on ? 'primary' : 'plain'}
          className="grow"
          aria-pressed={on}
          busy={busy === 'microphone'}
          data-testid="btn-mic"
          data-on={on}
          title={`${on ? r('mute') : r('unmute')} (m)`}
          onClick={() => void session.setMicrophone(!on)}
        >
          <Glyph path={on ? GLYPHS.mic : GLYPHS.micOff} />
          {on ? r('mute') : r('unmute')}
        </Button>
        <Button
          aria-pressed={camera}
          busy={busy === 'camera'}
          data-testid="btn-camera"
          title={`${camera ? r('cam_stop') : r('cam_start')} (v)`}
          aria-label={camera ? r('cam_stop') : r('cam_start')}
          onClick={() => void session.setCamera(!camera)}
        >
          <Glyph path={camera ? GLYPHS.cam : GLYPHS.camOff} />
        </Button>
      </div>
      {fault && (
        <p className="fault" role="alert">
          <Icon name="warn" />
          {fault.kind === 'failed'
            ? r('publish_failed', { reason: fault.reason })
            : fault.source === 'microphone'
              ? r('mic_refused')
              : r('cam_refused')}
        </p>
      )}
      {!on && <DeviceTest />}
    </>
  );
}

/** Hear one's own microphone as a bar before anybody else does; the device is released when the test is closed. */
function DeviceTest() {
  const [open, setOpen] = useState(false);
  const [level, setLevel] = useState(0);
  const [refused, setRefused] = useState(false);
  useEffect(() => {
    if (!open) return;
    let stream: MediaStream | null = null;
    let context: AudioContext | null = null;
    let timer: ReturnType<typeof setInterval> | undefined;
    let gone = false;
    const listen = async () => {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      if (gone) return stream.getTracks().forEach((track) => track.stop());
      context = new AudioContext();
      const meter = context.createAnalyser();
      context.createMediaStreamSource(stream).connect(meter);
      const samples = new Uint8Array(meter.fftSize);
      timer = setInterval(() => {
        meter.getByteTimeDomainData(samples);
        setLevel(samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample - 128)), 0) / 128);
      }, 100);
    };
    listen().catch(() => setRefused(true));
    return () => {
      gone = true;
      clearInterval(timer);
      stream?.getTracks().forEach((track) => track.stop());
      void context?.close();
      setLevel(0);
      setRefused(false);
    };
  }, [open]);
  return (
    <details className="device-test" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{r('device_test')}</summary>
      {refused ? (
        <p className="fault">{r('mic_refused')}</p>
      ) : (
        <label className="small soft">
          {r('device_mic')}: {level > 0.08 ? r('device_ok') : r('device_say')}
          <meter min={0} max={1} value={level} />
        </label>
      )}
    </details>
  );
}
