/** The drawing tools, upright beside the picture on a desktop, lying above the bottom bar on a phone. */
import { may } from '@/lib/roles';
import type { Tool } from './drawing';
import { Glyph } from './Glyph';
import type { RoomSession } from './session';
import { GLYPHS, TOOLS } from './tools';
import { r } from './words';

interface Props {
  session: RoomSession;
  tool: Tool;
  pinned: boolean;
  showStrokes: boolean;
  onTool: (tool: Tool) => void;
  onPinned: (on: boolean) => void;
  onShowStrokes: (on: boolean) => void;
}

interface RailButton {
  path: string;
  label: string;
  hint: string;
  pressed?: boolean;
  testId?: string;
  onClick: () => void;
}

function RailItem({ path, label, hint, pressed, testId, onClick }: RailButton) {
  return (
    <button
      type="button"
      className="rail-btn"
      aria-label={label}
      title={`${label} (${hint})`}
      aria-pressed={pressed}
      data-testid={testId}
      onClick={onClick}
    >
      <Glyph path={path} />
    </button>
  );
}

export function ToolRail({ session, tool, pinned, showStrokes, onTool, onPinned, onShowStrokes }: Props) {
  const self = session.self.value;
  return (
    <div className="rail" role="toolbar" aria-label={r('tools')} aria-orientation="vertical">
      {self && (
        <span className="rail-color" style={{ background: self.color }} title={r('person_you', { name: self.name })} />
      )}
      {TOOLS.map(({ tool: name, key, path }) => (
        <RailItem
          key={name}
          path={path}
          label={r(name)}
          hint={key}
          pressed={tool === name}
          testId={`tool-${name}`}
          onClick={() => onTool(name)}
        />
      ))}
      <hr />
      <RailItem
        path={GLYPHS.pin}
        label={r('pin')}
        hint="p"
        pressed={pinned}
        testId="tool-pin"
        onClick={() => onPinned(!pinned)}
      />
      <RailItem path={GLYPHS.undo} label={r('undo')} hint="z" testId="tool-undo" onClick={() => session.undo()} />
      <RailItem
        path={GLYPHS.erase}
        label={r('clear_mine')}
        hint="e"
        testId="tool-clear"
        onClick={() => session.clear(true)}
      />
      {may('room.host') && (
        <RailItem
          path={GLYPHS.eraseAll}
          label={r('clear_all')}
          hint="–"
          testId="tool-clear-all"
          onClick={() => session.clear(false)}
        />
      )}
      <RailItem
        path={GLYPHS.eye}
        label={showStrokes ? r('hide_strokes') : r('show_strokes')}
        hint="h"
        pressed={!showStrokes}
        onClick={() => onShowStrokes(!showStrokes)}
      />
    </div>
  );
}
