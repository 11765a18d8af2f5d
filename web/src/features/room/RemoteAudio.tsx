/** The others' sound: one audio element per microphone track; "tap to hear" when the browser refuses to start it. */
import { useEffect, useRef, useState } from 'react';
import { Button } from '@/kit';
import type { RoomSession } from './session';
import { r } from './words';

export function RemoteAudio({ session }: { session: RoomSession }) {
  const [refused, setRefused] = useState(false);
  const [turn, setTurn] = useState(0);
  const microphones = session.tracks.value.filter((track) => track.kind === 'audio');
  return (
    <>
      {microphones.map((track) => {
        const receiver = session.receivers.value.get(track.id);
        return (
          receiver && <Voice key={track.id} track={receiver.track} turn={turn} onRefused={() => setRefused(true)} />
        );
      })}
      {refused && microphones.length > 0 && (
        <Button
          variant="primary"
          large
          className="tap-to-hear"
          data-testid="tap-to-hear"
          onClick={() => {
            setRefused(false);
            setTurn(turn + 1);
          }}
        >
          {r('tap_to_hear')}
        </Button>
      )}
    </>
  );
}

function Voice({ track, turn, onRefused }: { track: MediaStreamTrack; turn: number; onRefused: () => void }) {
  const ref = useRef<HTMLAudioElement>(null);
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    element.srcObject = new MediaStream([track]);
    element.play().catch((error: unknown) => {
      if (error instanceof DOMException && error.name === 'NotAllowedError') onRefused();
    });
  }, [track, turn]);
  return <audio ref={ref} autoPlay />;
}
