/** The time, read again every so often, for texts like "waits since 3 min". */
import { useEffect, useState } from 'react';

export function useNow(every_s = 20): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every_s * 1000);
    return () => clearInterval(timer);
  }, [every_s]);
  return now;
}
