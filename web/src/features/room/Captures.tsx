/** Stills and clips of this room: take one, see its state, open it beside the live picture. */
import { Button, Icon } from '@/kit';
import { may } from '@/lib/roles';
import type { Capture } from '@/lib/rtc/messages';
import { clock } from '@/lib/when';
import { AddToReport } from './AddToReport';
import { Glyph } from './Glyph';
import type { RoomSession } from './session';
import type { StageHandle } from './Stage';
import { take } from './take';
import { GLYPHS } from './tools';
import { r } from './words';

interface Props {
  session: RoomSession;
  stage: { current: StageHandle | null };
  openId: string | null;
  onOpen: (capture: Capture) => void;
}

export function Captures({ session, stage, openId, onOpen }: Props) {
  const captures = session.captures.value;
  const block = session.captureBlock.value;
  return (
    <section className="captures" aria-label={r('captures')} data-testid="captures" data-count={captures.length}>
      {may('room.capture') && (
        <div className="take">
          <Button
            data-testid="btn-still"
            disabled={block !== null}
            title={block ? r(block) : `${r('still')} (k)`}
            onClick={() => void take(session, stage.current, 'still')}
          >
            <Glyph path={GLYPHS.still} />
            {r('still')}
          </Button>
          <Button
            data-testid="btn-clip"
            disabled={block !== null}
            title={block ? r(block) : `${r('clip')} (c)`}
            onClick={() => void take(session, stage.current, 'clip')}
          >
            <Glyph path={GLYPHS.clip} />
            {r('clip')}
          </Button>
          {block && (
            <span className="faint small" role="status" data-testid="capture-block">
              {r(block)}
            </span>
          )}
        </div>
      )}
      {captures.length === 0 ? (
        <p className="faint small captures-empty">{r('captures_empty')}</p>
      ) : (
        <ol className="strip-list">
          {[...captures].reverse().map((capture) => (
            <li key={capture.id}>
              <CaptureButton capture={capture} open={capture.id === openId} onOpen={onOpen} />
              <AddToReport session={session} capture={capture} />
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function CaptureButton({
  capture,
  open,
  onOpen,
}: {
  capture: Capture;
  open: boolean;
  onOpen: (capture: Capture) => void;
}) {
  const stored = capture.state === 'stored' && Boolean(capture.study_uid) && may('study.read');
  const kind = r(`capture_${capture.kind}`);
  const time = clock(capture.requested_at);
  return (
    <button
      type="button"
      className="capture"
      data-state={capture.state}
      data-kind={capture.kind}
      data-capture={capture.id}
      aria-pressed={open}
      aria-label={stored ? r('capture_open', { kind, time }) : undefined}
      disabled={!stored}
      title={capture.reason ?? undefined}
      onClick={() => onOpen(capture)}
    >
      <Glyph path={GLYPHS[capture.kind]} />
      <span>
        <b>{kind}</b> <span className="num">{time}</span>
        <span className="capture-state">
          {capture.state === 'requested' && <span className="turning small-turn" />}
          {capture.state === 'stored' && <Icon name="check" />}
          {capture.state === 'failed' && <Icon name="warn" />}
          {r(`capture_${capture.state}`)}
          {capture.state === 'failed' && capture.reason ? `: ${capture.reason}` : ''}
        </span>
      </span>
    </button>
  );
}
