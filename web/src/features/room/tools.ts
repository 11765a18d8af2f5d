/** The drawing tools in the order of their keys, with their icons (24 x 24 strokes). */
import type { Tool } from './drawing';

export const TOOLS: readonly { tool: Tool; key: string; path: string }[] = [
  {
    tool: 'laser',
    key: '1',
    path: 'M12 12h.01M12 4v2M12 18v2M4 12h2M18 12h2M6.5 6.5 8 8M16 16l1.5 1.5M17.5 6.5 16 8M8 16l-1.5 1.5M12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z',
  },
  { tool: 'pen', key: '2', path: 'M4 20l1-4L16.5 4.5l3 3L8 19zM14 7l3 3' },
  { tool: 'arrow', key: '3', path: 'M5 19 19 5M10 5h9v9' },
  { tool: 'ellipse', key: '4', path: 'M12 18c5 0 9-2.7 9-6s-4-6-9-6-9 2.7-9 6 4 6 9 6Z' },
  { tool: 'text', key: 't', path: 'M5 6V5h14v1M12 5v14M9.5 19h5' },
];

export const GLYPHS = {
  undo: 'M9 7 4.5 11.5 9 16M5 11.5h9a5 5 0 0 1 0 10h-2',
  erase: 'M8 19h12M5 14.5 14.5 5l5 5L11 18.5H8.5z',
  eraseAll: 'M5 7h14M10 7V5h4v2M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5',
  pin: 'M9 4h6l-1 6 3.5 3.5h-11L10 10zM12 13.5V20',
  eye: 'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12ZM12 14.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z',
  mic: 'M12 14.5a3 3 0 0 0 3-3v-5a3 3 0 0 0-6 0v5a3 3 0 0 0 3 3ZM6 11a6 6 0 0 0 12 0M12 17v3.5',
  micOff:
    'M4 4l16 16M15 11V6.5a3 3 0 0 0-5.8-1M9 9v2.5a3 3 0 0 0 4.5 2.6M6 11a6 6 0 0 0 9.3 5M18 11a6 6 0 0 1-.6 2.6M12 17v3.5',
  cam: 'M3 7h12v10H3zM15 11l6-3.5v9L15 13z',
  camOff: 'M4 4l16 16M8 7h7v7M15 11l6-3.5v9L17 14.2M15 17H3V7h2',
  still: 'M4 8h3.5L9 5.5h6L16.5 8H20v11H4zM12 16.5a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4Z',
  clip: 'M4 5h16v14H4zM8 5v14M16 5v14M4 9.5h4M4 14.5h4M16 9.5h4M16 14.5h4',
  split: 'M3 5h18v14H3zM12 5v14',
  leave: 'M14 4h5v16h-5M4 12h10M10 8l4 4-4 4',
  more: 'M4 7h16M4 12h16M4 17h16',
  hold: 'M8 5v14M16 5v14',
  goOn: 'M7 4.5v15l12-7.5z',
} as const;
