/** The phone's bottom bar: mute, hold, draw, still, prior, people, leave. */
import { may } from '@/lib/roles';
import { Glyph } from './Glyph';
import type { RoomSession } from './session';
import { GLYPHS, TOOLS } from './tools';
import { r } from './words';

interface BarProps {
  session: RoomSession;
  drawing: boolean;
  held: boolean;
  split: boolean;
  onDraw: () => void;
  onHold: () => void;
  onStill: () => void;
  onSplit: () => void;
  onMore: () => void;
  onLeave: () => void;
}

export function PhoneBar(props: BarProps) {
  const { session } = props;
  const on = session.microphone.value;
  const waiting = session.chat.value.length;
  const block = session.captureBlock.value;
  return (
    <nav className="phone-bar" aria-label={r('room')}>
      {may('room.speak') && (
        <BarButton
          path={on ? GLYPHS.mic : GLYPHS.micOff}
          label={on ? r('mute') : r('unmute')}
          pressed={on}
          testId="btn-mic"
          onClick={() => void session.setMicrophone(!on)}
        />
      )}
      <BarButton
        path={props.held ? GLYPHS.goOn : GLYPHS.hold}
        label={props.held ? r('go_on') : r('hold')}
        pressed={props.held}
        testId="btn-hold"
        onClick={props.onHold}
      />
      {may('room.draw') && (
        <BarButton
          path={TOOLS[1]?.path ?? ''}
          label={r('draw')}
          pressed={props.drawing}
          testId="tool-pen"
          onClick={props.onDraw}
        />
      )}
      {may('room.capture') && (
        <BarButton
          path={GLYPHS.still}
          label={r('still')}
          testId="btn-still"
          blocked={block ? r(block) : undefined}
          onClick={props.onStill}
        />
      )}
      {may('study.read') && (
        <BarButton
          path={GLYPHS.split}
          label={r('split_short')}
          pressed={props.split}
          testId="btn-split"
          onClick={props.onSplit}
        />
      )}
      <BarButton
        path={GLYPHS.more}
        label={waiting > 0 ? `${r('chat')} ${waiting}` : r('people')}
        testId="btn-more"
        onClick={props.onMore}
      />
      <BarButton path={GLYPHS.leave} label={r('leave')} testId="btn-leave" danger onClick={props.onLeave} />
    </nav>
  );
}

function BarButton({
  path,
  label,
  pressed,
  testId,
  danger,
  blocked,
  onClick,
}: {
  path: string;
  label: string;
  pressed?: boolean;
  testId: string;
  danger?: boolean;
  /** Words that say why it cannot be used now. */
  blocked?: string | undefined;
  onClick: () => void;
}) {
  return (
    <button
      type="button"
      aria-pressed={pressed}
      data-testid={testId}
      data-on={pressed}
      data-danger={danger || undefined}
      disabled={blocked !== undefined}
      title={blocked}
      onClick={onClick}
    >
      <Glyph path={path} />
      <span>{label}</span>
    </button>
  );
}
