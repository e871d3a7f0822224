// Light, dark, or as the system has it. Loaded before the page is drawn, so that it never flashes in the wrong colours.
(() => {
    const THEMES = ['auto', 'light', 'dark'];
    const LABELS = { auto: 'Theme: as the system', light: 'Theme: light', dark: 'Theme: dark' };
    let theme = 'auto';
    try {
        theme = localStorage.getItem('millstream-theme') ?? theme;
    } catch {
        // A browser that keeps nothing shows the theme of the system.
    }

    function apply(button) {
        document.documentElement.dataset.theme = theme;
        if (button) {
            button.setAttribute('aria-label', LABELS[theme]);
            button.title = LABELS[theme];
        }
        document.dispatchEvent(new Event('themechange'));
    }

    apply(null);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => apply(null));
    document.addEventListener('DOMContentLoaded', () => {
        const button = document.getElementById('theme');
        apply(button);
        button.addEventListener('click', () => {
            theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
            try {
                localStorage.setItem('millstream-theme', theme);
            } catch {
                // It holds until the page is left.
            }
            apply(button);
        });
    });
})();
