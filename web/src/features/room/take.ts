/** Ask for a capture and tell what came of it. */
import { notify } from '@/kit';
import type { CaptureKind } from '@/lib/rtc/messages';
import { reasonOf } from './attempt';
import type { RoomSession } from './session';
import type { StageHandle } from './Stage';
import { r } from './words';

/**
 * Ask the site for a still of the frame on the screen, or for the last ten seconds; only while the picture is live. What
 * comes of it stands in the list of captures; `tell` says so in a message too, where that list is out of sight.
 */
export async function take(
  session: RoomSession,
  stage: StageHandle | null,
  kind: CaptureKind,
  tell = false,
): Promise<void> {
  const block = session.captureBlock.peek();
  if (block) return notify(r(block), 'warn');
  try {
    await session.capture(kind, stage?.frame() ?? null);
    if (tell) notify(r('capture_asked', { kind: r(`capture_${kind}`) }), 'info');
  } catch (error) {
    notify(r('capture_error', { reason: reasonOf(error) }), 'bad');
  }
}
