// What needs a browser of its own: private windows, and a profile whose files have been damaged.

export const alone = [];
