/**
 * The room: live picture in the middle, tools left, people and chat right, captures below, a prior beside it on demand.
 * The page makes one RoomSession per stay and ends it when it goes.
 */
import { useEffect, useMemo, useRef, useState } from 'react';
import { useLocation } from 'wouter';
import { Button, Dialog, Empty, notify } from '@/kit';
import { usePageKeys } from '@/lib/pageKeys';
import { sentence } from '@/lib/problemWords';
import { may } from '@/lib/roles';
import type { FitMode } from '@/lib/rtc/geometry';
import type { Capture } from '@/lib/rtc/messages';
import type { EndReason } from '@/lib/rtc/signalling';
import type { Tool } from './drawing';
import { PriorSide } from './PriorSide';
import { HostActions, RoomHead } from './RoomHead';
import { RoomSession } from './session';
import { Stage, type StageHandle } from './Stage';
import { take } from './take';
import { TOOLS } from './tools';
import { useExtras } from './useExtras';
import { useWakeLock } from './useWakeLock';
import { r } from './words';
import './room.css';

const PHONE = '(max-width: 760px), (max-height: 480px) and (pointer: coarse)';

function usePhone(): boolean {
  const [query] = useState(() => matchMedia(PHONE));
  const [phone, setPhone] = useState(query.matches);
  useEffect(() => {
    const read = () => setPhone(query.matches);
    query.addEventListener('change', read);
    return () => query.removeEventListener('change', read);
  }, [query]);
  return phone;
}

export default function RoomPage({ id }: { id: string }) {
  const phone = usePhone();
  const [stay, setStay] = useState(0);
  const [session, setSession] = useState<RoomSession | null>(null);
  useEffect(() => {
    const made = new RoomSession(id, matchMedia(PHONE).matches ? 'phone' : 'desktop');
    made.start();
    setSession(made);
    const bye = () => made.dispose();
    addEventListener('pagehide', bye);
    return () => {
      removeEventListener('pagehide', bye);
      made.dispose();
    };
  }, [id, stay]);
  if (!session) return null;
  const link = session.link.value;
  if (link.kind === 'over') return <Over reason={link.reason} onAgain={() => setStay(stay + 1)} />;
  return <InRoom key={stay} session={session} phone={phone} />;
}

function Over({ reason, onAgain }: { reason: EndReason; onAgain: () => void }) {
  const [, go] = useLocation();
  const again = reason === 'left' || reason === 'full' || reason === 'signed-out' || reason === 'refused';
  return (
    <div className="page" data-testid="room-over" data-reason={reason}>
      <Empty
        icon={reason === 'denied' ? 'lock' : 'video'}
        title={r(`over_${reason}`)}
        action={
          <span className="row">
            {again && <Button onClick={onAgain}>{r('rejoin')}</Button>}
            <Button variant="primary" onClick={() => go('/')}>
              {r('home')}
            </Button>
          </span>
        }
      >
        {r(`over_${reason}_text`)}
      </Empty>
    </div>
  );
}

function InRoom({ session, phone }: { session: RoomSession; phone: boolean }) {
  const [, go] = useLocation();
  const [tool, setTool] = useState<Tool>('laser');
  const [pinned, setPinned] = useState(false);
  const [showStrokes, setShowStrokes] = useState(true);
  const [fit, setFit] = useState<FitMode>('fit');
  const [held, setHeld] = useState(false);
  const [split, setSplit] = useState(false);
  const [sheet, setSheet] = useState(false);
  const [focus, setFocus] = useState<Capture | null>(null);
  const [openPatient, setOpenPatient] = useState<string | null>(null);
  const [dialog, setDialog] = useState<'keys' | 'end' | null>(null);
  const stage = useRef<StageHandle | null>(null);
  const extras = useExtras();
  useWakeLock();

  const leave = () => {
    session.dispose();
    go('/');
  };
  const open = (capture: Capture) => {
    setFocus(capture);
    setSplit(true);
    setSheet(false);
  };
  const refusal = session.refusal.value;
  useEffect(() => {
    if (!refusal) return;
    const reason = sentence({ ...refusal, facts: {} });
    notify(r(refusal.code === 'denied' ? 'draw_refused' : 'action_failed', { reason }), 'warn');
  }, [refusal]);

  const mayDraw = may('room.draw');
  const mayCapture = may('room.capture');
  const keys = useMemo(() => {
    const draw = (act: () => void) => () => mayDraw && act();
    return {
      m: () => may('room.speak') && void session.setMicrophone(!session.microphone.peek()),
      v: () => may('room.speak') && void session.setCamera(session.camera.peek() === null),
      ' ': () => setHeld((on) => !on),
      f: () => setFit((mode) => (mode === 'fit' ? 'one' : 'fit')),
      d: draw(() => setTool((now) => (now === 'pen' ? 'laser' : 'pen'))),
      k: () => mayCapture && void take(session, stage.current, 'still'),
      c: () => mayCapture && void take(session, stage.current, 'clip'),
      e: draw(() => session.clear(true)),
      z: draw(() => session.undo()),
      s: () => may('study.read') && setSplit((on) => !on),
      h: () => setShowStrokes((on) => !on),
      p: draw(() => setPinned((on) => !on)),
      n: () => {
        setSheet(true);
        requestAnimationFrame(() => document.getElementById('chat-field')?.focus());
      },
      '?': () => setDialog('keys'),
      Escape: () => {
        setTool('laser');
        setSheet(false);
        setDialog(null);
      },
      ...Object.fromEntries(TOOLS.map((entry) => [entry.key, draw(() => setTool(entry.tool))])),
    };
  }, [session, mayDraw, mayCapture]);
  usePageKeys(keys);

  const room = session.room.value;
  const mismatch = split && openPatient !== null && Boolean(room?.patient_id) && openPatient !== room?.patient_id;
  const rail = mayDraw && (!phone || tool !== 'laser');
  return (
    <div
      className="room"
      data-phone={phone || undefined}
      data-split={split || undefined}
      data-mismatch={mismatch || undefined}
    >
      <RoomHead
        session={session}
        mismatch={mismatch}
        phone={phone}
        split={split}
        onSplit={() => setSplit(!split)}
        onEnd={() => setDialog('end')}
        onLeave={leave}
      />
      <LinkBar session={session} />
      <div className="room-main">
        {rail && extras && (
          <extras.ToolRail
            session={session}
            tool={tool}
            pinned={pinned}
            showStrokes={showStrokes}
            onTool={setTool}
            onPinned={setPinned}
            onShowStrokes={setShowStrokes}
          />
        )}
        <div className="room-pictures">
          <Stage
            session={session}
            tool={tool}
            pinned={pinned}
            fit={fit}
            held={held}
            showStrokes={showStrokes}
            phone={phone}
            handle={stage}
            onFit={() => setFit(fit === 'fit' ? 'one' : 'fit')}
            onHold={() => setHeld(!held)}
          />
          {split && <PriorSide session={session} focus={focus} phone={phone} onOpenPatient={setOpenPatient} />}
        </div>
        {!phone && (
          <aside className="room-side">
            {extras && <extras.People session={session} />}
            {extras && <extras.ChatPanel session={session} fieldId="chat-field" />}
          </aside>
        )}
      </div>
      {!phone && !extras && <div className="captures" />}
      {!phone && extras && (
        <extras.Captures session={session} stage={stage} openId={split ? (focus?.id ?? null) : null} onOpen={open} />
      )}
      {phone && !extras && <div className="phone-bar-place" />}
      {phone && extras && (
        <extras.PhoneBar
          session={session}
          drawing={tool !== 'laser'}
          held={held}
          split={split}
          onDraw={() => setTool(tool === 'laser' ? 'pen' : 'laser')}
          onHold={() => setHeld(!held)}
          onStill={() => void take(session, stage.current, 'still', true)}
          onSplit={() => setSplit(!split)}
          onMore={() => setSheet(!sheet)}
          onLeave={leave}
        />
      )}
      {phone && sheet && extras && (
        <Dialog title={r('more')} onClose={() => setSheet(false)}>
          <HostActions session={session} onEnd={() => setDialog('end')} />
          <extras.Captures session={session} stage={stage} openId={null} onOpen={open} />
          <extras.People session={session} />
          <extras.ChatPanel session={session} fieldId="chat-field" />
        </Dialog>
      )}
      {extras && <extras.RemoteAudio session={session} />}
      {extras && dialog === 'keys' && <extras.RoomKeys onClose={() => setDialog(null)} />}
      {extras && dialog === 'end' && <extras.EndDialog session={session} onClose={() => setDialog(null)} />}
    </div>
  );
}

function LinkBar({ session }: { session: RoomSession }) {
  const link = session.link.value;
  const lost = link.kind === 'waiting' || (link.kind === 'connecting' && link.attempt > 0);
  if (!lost) return null;
  return (
    <p className="strip" role="status" data-testid="room-reconnecting">
      <span className="turning small-turn" />
      {r('reconnecting', { n: link.attempt })}
    </p>
  );
}
