/** The report on the desk: its page reads and writes the draft that the desk holds, and leaves it there when it goes. */
import { useEffect, useState } from 'react';
import { notify } from '@/kit';
import { user } from '@/lib/auth';
import { t } from '@/lib/i18n/app';
import type { Report } from '@/protocol/types';
import { openDesk, type Desk } from './desk';

export function useReport(fresh: Report): Desk {
  const [desk] = useState(() => openDesk(fresh));
  useEffect(() => {
    desk.enter();
    return () =>
      void desk.leave().then((done) => {
        if (!done && user.peek()?.id === desk.owner) notify(t('report.left_unsaved'), 'warn');
      });
  }, [desk]);
  useEffect(() => desk.send({ type: 'arrived', report: fresh }), [desk, fresh]);
  return desk;
}
