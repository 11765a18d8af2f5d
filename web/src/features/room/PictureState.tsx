/** What stands over the picture when it is not live, in words: frozen, held, paused, waiting. */
import { Button, Icon } from '@/kit';
import { may } from '@/lib/roles';
import { attempt } from './attempt';
import type { RoomSession } from './session';
import type { Standing } from './standing';
import { r } from './words';

export function PictureState({ session, standing }: { session: RoomSession; standing: Standing }) {
  switch (standing.kind) {
    case 'live':
    case 'held': // said below the picture: it is held to be looked at
      return null;
    case 'frozen':
      return (
        <div
          className="not-live"
          role="alert"
          data-testid="room-frozen"
          data-seconds={standing.seconds}
          data-cause={standing.cause}
        >
          <Icon name="warn" />
          <strong>{r('frozen', { n: standing.seconds })}</strong>
          <span>{r(`frozen_${standing.cause}`)}</span>
        </div>
      );
    case 'paused':
      return (
        <>
          {standing.seconds !== null && <div className="veil" />}
          <Words title={r('paused')} text={r('paused_plain')} testId="room-paused">
            <Start session={session} />
          </Words>
        </>
      );
    case 'connecting':
      return <Words title={r('connecting')} text="" busy />;
    case 'no-stream':
      return (
        <Words title={r('no_stream')} text={r('no_stream_text')} testId="room-no-stream">
          <Start session={session} />
        </Words>
      );
    case 'waiting':
      return <Words title={r('waiting_stream')} text={r('waiting_stream_text')} busy testId="room-waiting" />;
    case 'no-codec':
      return <Words title={r('no_codec')} text={r('no_codec_text')} busy testId="room-no-codec" />;
  }
}

interface WordsProps {
  title: string;
  text: string;
  busy?: boolean;
  testId?: string;
  children?: preact.ComponentChildren;
}

function Words({ title, text, busy, testId, children }: WordsProps) {
  return (
    <div className="stage-words" role="status" data-testid={testId} aria-busy={busy}>
      {busy ? <span className="turning" /> : <Icon name="video" />}
      <strong>{title}</strong>
      {text && <p>{text}</p>}
      {children}
    </div>
  );
}

function Start({ session }: { session: RoomSession }) {
  if (!may('room.host')) return null;
  return (
    <Button
      variant="primary"
      icon="live"
      data-testid="btn-start-stream"
      onClick={() => attempt(session.stream('start'))}
    >
      {r('start_stream')}
    </Button>
  );
}
